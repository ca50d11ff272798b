"""Stores sandboxes and the log of their operations, through Supabase."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from utils.database.rows import columns_of, now
from utils.database.sandbox_schema import sandbox_operations, sandboxes
from utils.database.shared import NO_SANDBOX, USER_GONE, new_sandbox_values, too_many_sandboxes
from utils.database.supabase.rows import (
    SupabaseMethods,
    column_names,
    encode_columns,
    known_columns,
    row_decoder,
    value_decoder,
)
from utils.database.supabase.tables.usage import encode_usage
from utils.database.types import normalize_user_id, to_utc
from utils.errors import NotFound, Unauthenticated
from utils.models.sandboxes import (
    LIVE_SANDBOXES,
    NewSandbox,
    SandboxOperation,
    SandboxStatus,
    StoredOperation,
    StoredSandbox,
    TaskSandbox,
)
from utils.models.tasks import Json
from utils.models.usage import UsageRecord

SANDBOX_COLUMNS = column_names(sandboxes, StoredSandbox)
"""The columns that `decode_sandbox` reads."""

_values = value_decoder(StoredSandbox)
_decode_operation = row_decoder(StoredOperation)


class SandboxMethods(SupabaseMethods):
    """Methods on sandboxes."""

    def add_sandbox(self, user_id: str, new: NewSandbox, most: int) -> StoredSandbox:
        """See `Database`."""
        values = new_sandbox_values(new, now()) | {"server": self.server}
        arguments = {
            "this_user": normalize_user_id(user_id),
            "added": encode_columns(sandboxes, values),
            "maximum": most,
        }
        row = self.supabase.call("backend_add_sandbox", arguments, idempotent=False)
        if row is None:
            raise too_many_sandboxes(most)
        if not row:
            raise Unauthenticated(USER_GONE)
        return decode_sandbox(row)

    def record_task_sandbox(self, new: TaskSandbox) -> bool:
        """See `Database`."""
        asked = NewSandbox(new.provider, new.expires_at, new.template, new.repositories)
        values = new_sandbox_values(asked, now()) | {
            "task_id": new.task_id,
            "provider_id": new.provider_id,
            "server": self.server,
        }
        arguments = {"added": encode_columns(sandboxes, values)}
        return bool(self.supabase.call("backend_record_task_sandbox", arguments, idempotent=True))

    def get_sandbox(self, user_id: str, sandbox_id: int) -> StoredSandbox:
        """See `Database`."""
        request = (
            self.supabase.table("sandboxes")
            .select(SANDBOX_COLUMNS)
            .eq("id", sandbox_id)
            .eq("user_id", normalize_user_id(user_id))
        )
        rows = self.supabase.rows(request, idempotent=True)
        if not rows:
            raise NotFound(NO_SANDBOX)
        return decode_sandbox(rows[0])

    def list_sandboxes(
        self,
        user_id: str,
        *,
        status: SandboxStatus | None = None,
        limit: int = 100,
        cursor: int | None = None,
    ) -> list[StoredSandbox]:
        """See `Database`."""
        request = (
            self.supabase.table("sandboxes")
            .select(SANDBOX_COLUMNS)
            .eq("user_id", normalize_user_id(user_id))
        )
        if status is not None:
            request = request.eq("status", status.value)
        if cursor is not None:
            request = request.lt("id", cursor)
        page = request.order("id", desc=True).limit(limit)
        return [decode_sandbox(row) for row in self.supabase.rows(page, idempotent=True)]

    def list_live_sandboxes(self, due: datetime | None = None) -> list[StoredSandbox]:
        """See `Database`."""
        arguments = {"due": None if due is None else to_utc(due).isoformat()}
        rows = self.supabase.call("backend_list_live_sandboxes", arguments, idempotent=True)
        return [decode_sandbox(row) for row in rows]

    def list_uncounted_sandboxes(self, limit: int) -> list[StoredSandbox]:
        """See `Database`."""
        request = (
            self.supabase.table("sandboxes")
            .select(SANDBOX_COLUMNS)
            .is_("task_id", "null")
            .eq("is_counted", "false")
            .order("id")
            .limit(limit)
        )
        return [decode_sandbox(row) for row in self.supabase.rows(request, idempotent=True)]

    def count_sandbox(self, sandbox_id: int, record: UsageRecord, *, is_final: bool) -> bool:
        """See `Database`."""
        arguments = {
            "this_sandbox": sandbox_id,
            "usage": encode_usage(record),
            "is_final": is_final,
        }
        return bool(self.supabase.call("backend_count_sandbox", arguments, idempotent=True))

    def move_sandbox(
        self,
        sandbox_id: int,
        from_statuses: Collection[SandboxStatus],
        to: SandboxStatus,
        fields: Mapping[str, Any] = {},
    ) -> StoredSandbox | None:
        """See `Database`."""
        arguments = {
            "this_sandbox": sandbox_id,
            "from_statuses": [status.value for status in from_statuses],
            "new_status": to.value,
            "changes": encode_columns(sandboxes, fields),
        }
        row = self.supabase.call("backend_move_sandbox", arguments, idempotent=False)
        return None if row is None else decode_sandbox(row)

    def replace_sandbox_repositories(
        self, sandbox_id: int, seen: Sequence[Json], repositories: Sequence[Json]
    ) -> bool:
        """See `Database`."""
        columns = encode_columns(sandboxes, {"repositories": list(repositories)})
        arguments = {
            "this_sandbox": sandbox_id,
            "seen": list(seen),
            "changed": columns["repositories"],
        }
        function = "backend_replace_sandbox_repositories"
        return bool(self.supabase.call(function, arguments, idempotent=False))

    def mark_sandboxes(
        self,
        provider: str,
        provider_ids: Collection[str],
        to: SandboxStatus,
        error: str | None = None,
    ) -> list[int]:
        """See `Database`."""
        arguments = {
            "this_provider": provider,
            "provider_ids": list(provider_ids),
            "from_statuses": sorted(LIVE_SANDBOXES - {to}),
            "new_status": to.value,
            "changes": {} if error is None else encode_columns(sandboxes, {"error": error}),
        }
        rows: list[int] = self.supabase.call("backend_mark_sandboxes", arguments, idempotent=True)
        return rows

    def record_sandbox_operation(self, operation: SandboxOperation) -> bool:
        """See `Database`."""
        arguments = {"added": encode_columns(sandbox_operations, columns_of(operation))}
        return bool(
            self.supabase.call("backend_record_sandbox_operation", arguments, idempotent=False)
        )

    def list_sandbox_operations(
        self, user_id: str, sandbox_id: int, *, limit: int = 100, cursor: int | None = None
    ) -> list[StoredOperation]:
        """See `Database`."""
        arguments = {
            "this_user": normalize_user_id(user_id),
            "this_sandbox": sandbox_id,
            "below": cursor,
            "page_size": limit,
        }
        rows = self.supabase.call("backend_list_sandbox_operations", arguments, idempotent=True)
        if rows is None:
            raise NotFound(NO_SANDBOX)
        return [_decode_operation(row) for row in rows]

    def delete_old_sandboxes(self, before: datetime, *, limit: int) -> int:
        """See `Database`."""
        arguments = {"horizon": to_utc(before).isoformat(), "batch_size": limit}
        return int(self.supabase.call("backend_delete_old_sandboxes", arguments, idempotent=True))


def decode_sandbox(row: Json) -> StoredSandbox:
    """Return the sandbox in a row of `SANDBOX_COLUMNS`."""
    values = known_columns(StoredSandbox, _values(row))
    return StoredSandbox(**values | {"status": SandboxStatus(row["status"])})
