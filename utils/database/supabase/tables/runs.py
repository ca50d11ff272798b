"""Claims tasks and stores agent runs, through Supabase."""

from __future__ import annotations

from utils.database.rows import columns_of
from utils.database.schema import task_runs
from utils.database.supabase.rows import (
    SupabaseMethods,
    column_names,
    decode_claimed_task,
    encode_columns,
    encode_events,
    row_decoder,
)
from utils.database.supabase.tables.progress import is_idempotent
from utils.models.events import EventBatch
from utils.models.runs import AgentRun, ClaimedTask

_RUN_COLUMNS = column_names(task_runs, AgentRun)
_decode_run = row_decoder(AgentRun)


class RunMethods(SupabaseMethods):
    """Methods that claim tasks and store agent runs."""

    def claim_task(self, task_id: int, *, again: bool = False) -> ClaimedTask | None:
        """See `Database`."""
        arguments = {"this_task": task_id, "this_server": self.server, "again": again}
        row = self.supabase.call("backend_claim_turn", arguments, idempotent=again)
        return None if row is None else decode_claimed_task(row)

    def start_run(self, run: AgentRun, batch: EventBatch) -> bool:
        """See `Database`."""
        arguments = {
            "run": encode_columns(task_runs, columns_of(run)),
            "this_server": self.server,
            **encode_events(batch),
        }
        started: bool = self.supabase.call(
            "backend_start_run", arguments, idempotent=is_idempotent(batch)
        )
        return started

    def get_run(self, task_id: int) -> AgentRun | None:
        """See `Database`."""
        request = self.supabase.table("task_runs").select(_RUN_COLUMNS).eq("task_id", task_id)
        rows = self.supabase.rows(request, idempotent=True)
        return _decode_run(rows[0]) if rows else None

    def record_resume(self, task_id: int) -> None:
        """See `Database`."""
        self.supabase.call("backend_count_resume", {"this_task": task_id}, idempotent=False)

    def list_run_sandboxes(self) -> list[str]:
        """See `Database`."""
        ids: list[str] = self.supabase.call("backend_list_run_sandboxes", {}, idempotent=True)
        return ids
