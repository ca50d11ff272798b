"""Stores and sums up what tasks have used, through Supabase."""

from __future__ import annotations

from utils.database.rows import json_object
from utils.database.schema import usage_records
from utils.database.shared import AMOUNTS, NO_TASK, usage_values
from utils.database.supabase.rows import SupabaseMethods, encode_columns
from utils.database.types import normalize_user_id
from utils.errors import NotFound
from utils.models.tasks import Json
from utils.models.usage import Spending, SpendingQuery, Usage, UsageQuery, UsageRecord, UsageSum


class UsageMethods(SupabaseMethods):
    """Methods for usage."""

    def record_usage(self, record: UsageRecord) -> bool:
        """See `Database`."""
        arguments = {"this_server": self.server, "usage": encode_usage(record)}
        stored: bool = self.supabase.call("backend_record_usage", arguments, idempotent=True)
        return stored

    def add_usage(self, user_id: str, record: UsageRecord) -> None:
        """See `Database`."""
        arguments = {"this_user": normalize_user_id(user_id), "usage": encode_usage(record)}
        if not self.supabase.call("backend_add_usage", arguments, idempotent=True):
            raise NotFound(NO_TASK)

    def sum_usage(self, user_id: str, query: UsageQuery) -> list[UsageSum]:
        """See `Database`."""
        return self._sum(query, normalize_user_id(user_id))

    def sum_all_usage(self, query: UsageQuery) -> list[UsageSum]:
        """See `Database`."""
        return self._sum(query, None)

    def read_spending(self, user_id: str, query: SpendingQuery) -> Spending:
        """See `Database`."""
        arguments = {
            "this_user": normalize_user_id(user_id),
            "this_task": query.task_id or 0,
            "this_project": query.project_id,
            "this_day": query.day,
            "first_of_month": query.first_of_month,
            "but_run": query.but_run or "",
        }
        row = self.supabase.call("backend_get_spending", arguments, idempotent=True)
        return Spending(**{**row, "project_settings": json_object(row["project_settings"])})

    def _sum(self, query: UsageQuery, user_id: str | None) -> list[UsageSum]:
        arguments = {
            "this_user": user_id,
            "first_day": query.first_day.isoformat(),
            "last_day": query.last_day.isoformat(),
            "group_by": query.group_by.value,
            "most": query.limit,
        }
        rows = self.supabase.call("backend_list_usage", arguments, idempotent=True)
        return [_decode_sum(row) for row in rows]


def encode_usage(record: UsageRecord) -> Json:
    """Encode a record as a function argument."""
    return encode_columns(usage_records, usage_values(record))


def _decode_sum(row: Json) -> UsageSum:
    return UsageSum(row["key"], row["tasks"], Usage(*(row[name] for name in AMOUNTS)))
