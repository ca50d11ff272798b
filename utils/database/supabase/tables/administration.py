"""Reads the rows of all users for administrators, through Supabase."""

from __future__ import annotations

from collections.abc import Collection

from utils.database.schema import tasks
from utils.database.shared import NO_SANDBOX, NO_TASK
from utils.database.supabase.rows import SupabaseMethods, column_names, row_decoder
from utils.database.supabase.sandboxes import SANDBOX_COLUMNS, decode_sandbox
from utils.errors import NotFound
from utils.models.sandboxes import LIVE_SANDBOXES, StoredSandbox
from utils.models.tasks import ACTIVE_STATUSES, ActiveTask, Json, QueuedTask, TaskStatus

_COLUMNS = column_names(tasks, ActiveTask)
_decode = row_decoder(ActiveTask)
_QUEUED_COLUMNS = column_names(tasks, QueuedTask)
_decode_queued = row_decoder(QueuedTask)


class AdministrationMethods(SupabaseMethods):
    """Methods for administrators."""

    def list_active_tasks(self, *, limit: int, cursor: int | None = None) -> list[ActiveTask]:
        """See `Database`."""
        rows = self._page("tasks", _COLUMNS, ACTIVE_STATUSES, limit, cursor)
        return [_decode(row) for row in rows]

    def list_waiting_tasks(self, *, after: int = 0, limit: int = 500) -> list[QueuedTask]:
        """See `Database`."""
        request = (
            self.supabase.table("tasks")
            .select(_QUEUED_COLUMNS)
            .eq("status", TaskStatus.PENDING)
            .gt("id", after)
            .order("id")
            .limit(limit)
        )
        return [_decode_queued(row) for row in self.supabase.rows(request, idempotent=True)]

    def get_task_owner(self, task_id: int) -> str:
        """See `Database`."""
        return self._owner("tasks", task_id, NO_TASK)

    def list_live_sandbox_page(
        self, *, limit: int, cursor: int | None = None
    ) -> list[StoredSandbox]:
        """See `Database`."""
        rows = self._page("sandboxes", SANDBOX_COLUMNS, LIVE_SANDBOXES, limit, cursor)
        return [decode_sandbox(row) for row in rows]

    def get_sandbox_owner(self, sandbox_id: int) -> str:
        """See `Database`."""
        return self._owner("sandboxes", sandbox_id, NO_SANDBOX)

    def _page(
        self, table: str, columns: str, statuses: Collection[str], limit: int, cursor: int | None
    ) -> list[Json]:
        request = (
            self.supabase.table(table)
            .select(columns)
            .in_("status", sorted(statuses))
            .order("id", desc=True)
            .limit(limit)
        )
        if cursor is not None:
            request = request.lt("id", cursor)
        return self.supabase.rows(request, idempotent=True)

    def _owner(self, table: str, row_id: int, missing: str) -> str:
        request = self.supabase.table(table).select("user_id").eq("id", row_id)
        rows = self.supabase.rows(request, idempotent=True)
        if not rows:
            raise NotFound(missing)
        return str(rows[0]["user_id"])
