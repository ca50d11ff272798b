"""Verbs by which the servers of one database share its tasks, through Supabase."""

from __future__ import annotations

from collections.abc import Collection

from utils.database.supabase.rows import SupabaseVerbs, reader
from utils.database.types import user_key
from utils.models.tasks import Heartbeat, QueuedTask, TaskStatus

_read_queued = reader(QueuedTask)


class ServerVerbs(SupabaseVerbs):
    """Verbs for heartbeats, takeover of tasks and stop requests."""

    def record_heartbeat(self) -> Heartbeat:
        """See `Database`."""
        seen = self.supabase.call("backend_beat", {"this_server": self.server}, repeatable=True)
        return Heartbeat(**seen)

    def claim_unfinished_tasks(
        self, silent: Collection[str] = (), *, own: bool = False
    ) -> list[QueuedTask]:
        """See `Database`."""
        arguments = {"this_server": self.server, "silent": sorted(silent), "own": own}
        rows = self.supabase.call("backend_adopt_tasks", arguments, repeatable=True)
        return [_read_queued(row) for row in rows]

    def request_stop(self, user_id: str, task_id: int) -> bool:
        """See `Database`."""
        request = (
            self.supabase.table("tasks")
            .update({"stop_requested": True})
            .eq("id", task_id)
            .eq("user_id", user_key(user_id))
            .eq("status", TaskStatus.RUNNING)
            .select("id")
        )
        return bool(self.supabase.rows(request, repeatable=True))
