"""Stores the pull requests of tasks, through Supabase."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from utils.database.rows import STATUS_COLUMNS, now
from utils.database.schema import tasks
from utils.database.supabase.rows import (
    SupabaseMethods,
    decode_bytes,
    decode_task,
    encode_columns,
    row_decoder,
)
from utils.database.supabase.tables.archive import missing_task
from utils.database.types import normalize_user_id, to_utc
from utils.models.automatic_pulls import AutomaticPull
from utils.models.tasks import Task

_decode_pull = row_decoder(AutomaticPull)

_COLUMNS = ",".join(
    "execution_metadata:execution_summary" if column.name == "execution_metadata" else column.name
    for column in STATUS_COLUMNS
)


class PullRequestMethods(SupabaseMethods):
    """Methods on the pull requests of tasks."""

    def set_pull_request(self, user_id: str, task_id: int, fields: Mapping[str, Any]) -> Task:
        """See `Database`."""
        request = (
            self.supabase.table("tasks")
            .update(encode_columns(tasks, {**fields, "updated_at": now()}))
            .eq("id", task_id)
            .eq("user_id", normalize_user_id(user_id))
            .select(_COLUMNS)
        )
        rows = self.supabase.rows(request, idempotent=True)
        if not rows:
            raise missing_task(self.supabase, user_id, task_id)
        return decode_task(rows[0])

    def list_pull_request_tasks(self, pr_url: str) -> list[Task]:
        """See `Database`."""
        request = self.supabase.table("tasks").select(_COLUMNS).eq("pr_url", pr_url).order("id")
        return [decode_task(row) for row in self.supabase.rows(request, idempotent=True)]

    def list_branch_tasks(self, pr_branch: str, pr_number: int) -> list[Task]:
        """See `Database`."""
        all_tasks = self.supabase.table("tasks").select(_COLUMNS)
        request = all_tasks.eq("pr_branch", pr_branch).eq("pr_number", pr_number).order("id")
        return [decode_task(row) for row in self.supabase.rows(request, idempotent=True)]

    def claim_automatic_pull(self, until: datetime) -> AutomaticPull | None:
        """See `Database`."""
        arguments = {"this_server": self.server, "until": to_utc(until).isoformat()}
        row = self.supabase.call("backend_claim_automatic_pull", arguments, idempotent=True)
        if row is None:
            return None
        return _decode_pull({**row, "ciphertext": decode_bytes(row["ciphertext"])})

    def end_automatic_pull(self, pull: AutomaticPull, again_at: datetime | None = None) -> bool:
        """See `Database`."""
        arguments = {
            "this_task": pull.task_id,
            "this_server": self.server,
            "until": to_utc(pull.due_at).isoformat(),
            "again_at": again_at and to_utc(again_at).isoformat(),
        }
        return bool(self.supabase.call("backend_end_automatic_pull", arguments, idempotent=True))
