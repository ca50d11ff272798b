"""Coordinates the servers that share a database, through Supabase."""

from __future__ import annotations

from collections.abc import Collection

from utils.database.supabase.rows import SupabaseMethods, row_decoder
from utils.database.types import normalize_user_id
from utils.models.tasks import Heartbeat, QueuedTask, RunningTurn, TaskStatus

_decode_queued = row_decoder(QueuedTask)


class ServerMethods(SupabaseMethods):
    """Methods for heartbeats, takeover of tasks and stop requests."""

    def record_heartbeat(self) -> Heartbeat:
        """See `Database`."""
        seen = self.supabase.call(
            "backend_heartbeat", {"this_server": self.server}, idempotent=True
        )
        interrupted = [RunningTurn(**turn) for turn in seen.pop("interrupted")]
        return Heartbeat(**seen, interrupted=interrupted)

    def claim_unfinished_tasks(
        self, silent: Collection[str] = (), *, own: bool = False
    ) -> list[QueuedTask]:
        """See `Database`."""
        arguments = {"this_server": self.server, "silent": sorted(silent), "own": own}
        rows = self.supabase.call("backend_adopt_tasks", arguments, idempotent=True)
        return [_decode_queued(row) for row in rows]

    def request_stop(self, user_id: str, task_id: int) -> bool:
        """See `Database`."""
        request = (
            self.supabase.table("tasks")
            .update({"stop_requested": True})
            .eq("id", task_id)
            .eq("user_id", normalize_user_id(user_id))
            .eq("status", TaskStatus.RUNNING)
            .select("id")
        )
        return bool(self.supabase.rows(request, idempotent=True))
