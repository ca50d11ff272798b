"""Asks the task engine of a Supabase project; its functions are those of migration 0020."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from utils.database.engine_schema import OLDEST, require_engine
from utils.database.rows import engine_beat, engine_run
from utils.database.supabase.rows import SupabaseMethods, row_decoder
from utils.database.types import normalize_user_id
from utils.models.engine import EngineBeat, EngineChoice, EngineRun, Worker

_decode_worker = row_decoder(Worker)


class TaskEngineMethods(SupabaseMethods):
    """Methods for the task engine.

    A claim whose answer is lost is not repeated: its runs would be claimed by nobody that knows.
    """

    def use_engine(self, most: int | None) -> None:
        """See `Database`."""
        arguments = {"most": most, "oldest": OLDEST}
        engine = self.supabase.call("engine_use", arguments, idempotent=True)
        if most is not None:
            require_engine(engine["version"])

    def join_engine(
        self, most: int | None, silence: timedelta, ended: Mapping[str, int], version: str | None
    ) -> EngineChoice:
        """See `Database`."""
        arguments = {
            "this_server": self.server,
            "most": most,
            "oldest": OLDEST,
            "silence_seconds": silence.total_seconds(),
            "ended": dict(ended),
            "version": version,
        }
        answer = self.supabase.call("backend_join_engine", arguments, idempotent=True)
        return EngineChoice(**answer)

    def leave_engine(self, silence: timedelta) -> list[str]:
        """See `Database`."""
        arguments = {"this_server": self.server, "silence_seconds": silence.total_seconds()}
        found: list[str] = self.supabase.call("backend_leave_engine", arguments, idempotent=True)
        return found

    def limit_sandboxes(self, most: int | None) -> None:
        """See `Database`."""
        self.supabase.call("engine_limit_sandboxes", {"most": most}, idempotent=True)

    def count_sandboxes(self) -> int:
        """See `Database`."""
        return int(self.supabase.call("engine_sandboxes", {}, idempotent=True))

    def engine_admit(self, user_id: str | None = None) -> int:
        """See `Database`."""
        arguments = {"this_user": None if user_id is None else normalize_user_id(user_id)}
        return int(self.supabase.call("engine_admit", arguments, idempotent=True))

    def engine_claim(self, lease_seconds: int, places: int) -> list[EngineRun]:
        """See `Database`."""
        arguments = {
            "this_server": self.server,
            "lease_seconds": lease_seconds,
            "places": places,
        }
        runs = self.supabase.call("engine_claim", arguments, idempotent=False)
        return [engine_run(run) for run in runs]

    def engine_beat(self, run_ids: Sequence[str], lease_seconds: int) -> EngineBeat:
        """See `Database`."""
        arguments = {"claims": list(run_ids), "lease_seconds": lease_seconds}
        return engine_beat(self.supabase.call("engine_beat", arguments, idempotent=True))

    def engine_later(self, run_id: str, seconds: float) -> bool:
        """See `Database`."""
        arguments = {"this_claim": run_id, "seconds": seconds}
        return bool(self.supabase.call("engine_later", arguments, idempotent=False))

    def engine_done(self, run_id: str) -> bool:
        """See `Database`."""
        arguments = {"this_claim": run_id}
        return bool(self.supabase.call("engine_done", arguments, idempotent=False))

    def engine_release(self, kept: Sequence[str] = ()) -> int:
        """See `Database`."""
        arguments = {"this_server": self.server, "kept": list(kept)}
        return int(self.supabase.call("engine_release", arguments, idempotent=True))

    def engine_expired(self) -> int:
        """See `Database`."""
        arguments = {"this_server": self.server}
        return int(self.supabase.call("engine_expired", arguments, idempotent=True))

    def beat_worker(
        self, version: str, places: int, running: int, waiting_reason: str | None
    ) -> bool:
        """See `Database`."""
        arguments = {
            "this_server": self.server,
            "version": version,
            "places": places,
            "running": running,
            "waiting_reason": waiting_reason,
        }
        return bool(self.supabase.call("backend_beat_worker", arguments, idempotent=True))

    def drain_worker(self, name: str, is_draining: bool) -> bool:  # noqa: FBT001
        """See `Database`."""
        arguments = {"worker_name": name, "is_draining": is_draining}
        return bool(self.supabase.call("backend_drain_worker", arguments, idempotent=True))

    def remove_worker(self) -> None:
        """See `Database`."""
        arguments = {"this_server": self.server}
        self.supabase.call("backend_remove_worker", arguments, idempotent=True)

    def list_workers(self, silence: timedelta) -> list[Worker]:
        """See `Database`."""
        arguments = {"silence_seconds": silence.total_seconds()}
        rows = self.supabase.call("backend_list_workers", arguments, idempotent=True)
        return [_decode_worker(row) for row in rows]
