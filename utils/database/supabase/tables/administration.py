"""Reads the rows of all users for administrators, through Supabase."""

from __future__ import annotations

from utils.database.schema import tasks
from utils.database.shared import NO_TASK
from utils.database.supabase.rows import SupabaseMethods, column_names, row_decoder
from utils.errors import NotFound
from utils.models.tasks import ACTIVE_STATUSES, ActiveTask

_COLUMNS = column_names(tasks, ActiveTask)
_decode = row_decoder(ActiveTask)


class AdministrationMethods(SupabaseMethods):
    """Methods for administrators."""

    def list_active_tasks(self, *, limit: int, cursor: int | None = None) -> list[ActiveTask]:
        """See `Database`."""
        request = (
            self.supabase.table("tasks")
            .select(_COLUMNS)
            .in_("status", sorted(ACTIVE_STATUSES))
            .order("id", desc=True)
            .limit(limit)
        )
        if cursor is not None:
            request = request.lt("id", cursor)
        return [_decode(row) for row in self.supabase.rows(request, idempotent=True)]

    def get_task_owner(self, task_id: int) -> str:
        """See `Database`."""
        request = self.supabase.table("tasks").select("user_id").eq("id", task_id)
        rows = self.supabase.rows(request, idempotent=True)
        if not rows:
            raise NotFound(NO_TASK)
        return str(rows[0]["user_id"])
