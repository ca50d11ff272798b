"""Declares the operations on the task engine, which gives the tasks of a database to workers.

Only PostgreSQL and Supabase have it; an SQLite file belongs to one process. The engine decides
where and when an unfinished task runs. What has become of it is told by its row alone: when the row
moves to an end or is deleted, the database ends the engine's part in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from utils.models.engine import EngineBeat, EngineChoice, EngineRun, Worker


class EngineVerbs(Protocol):
    """The operations of workers. The worker is this server, by its name."""

    def use_engine(self, most: int | None) -> None:
        """Let the engine have unfinished tasks, at most `most` of each user at once.

        Holds for all servers of the database. Tasks that a server of before has left are admitted;
        those that run on a server that still sends heartbeats are not. With None no further task is
        admitted, and those that are waiting or running are given back. Raises `ConfigurationError`
        for a database without the engine, or with one that is too old.
        """

    def join_engine(
        self, most: int | None, silence: timedelta, ended: Mapping[str, int], version: str | None
    ) -> EngineChoice:
        """Use the engine as `use_engine` does, unless servers that run their own tasks are at work.

        Those in `ended` with the same number of heartbeats are not; they are forgotten. Where
        workers were seen within the time of `silence`, the engine is in use already. With the
        `version` of its program this server becomes a worker. Writes nothing where the engine is
        not used, because it is missing, too old, or others work without it; nor with None for
        `most`, which only asks.
        Calls of several servers do not overlap, nor with `leave_engine`.
        """

    def leave_engine(self, silence: timedelta) -> list[str]:
        """Have the engine take no more tasks, as `use_engine` does, and send a heartbeat.

        Writes nothing where other workers were seen within the time of `silence`; returns those.
        """

    def limit_sandboxes(self, most: int | None) -> None:
        """Let claims begin no task while `most` sandboxes run, None for any number.

        Holds for all workers of the database. Tasks that have begun are given out nevertheless.
        """

    def count_sandboxes(self) -> int:
        """Return the sandboxes that count for `limit_sandboxes`: of tasks that run, and of users.

        A task that a worker has claimed counts although it may have no sandbox yet.
        """

    def engine_admit(self, user_id: str | None = None) -> int:
        """Admit waiting tasks of a user, or of all, as far as the limits allow; return how many.

        The database does so by itself when tasks are created, ended or taken back, and when a
        worker claims fewer runs than it has places for. For all users, it also repairs what the
        engine and the rows disagree about, and takes back what is above the share of a user and no
        worker has; call it about once a minute.
        """

    def engine_claim(self, lease_seconds: int, places: int) -> list[EngineRun]:
        """Claim at most `places` runs for this worker until their lease is over, in order.

        A run whose lease is over is given to whoever asks next, with the next attempt. A worker
        that is drained gets none.
        """

    def engine_beat(self, run_ids: Sequence[str], lease_seconds: int) -> EngineBeat:
        """Extend the leases of runs; return those that are not fine.

        A lease that is over is extended as well, unless another worker has claimed the task.
        """

    def engine_later(self, run_id: str, seconds: float) -> bool:
        """Give a run back, for any worker to claim after this time; False when it was lost.

        It counts no attempt. With 0 seconds the task keeps its place before younger ones.
        """

    def engine_done(self, run_id: str) -> bool:
        """End a run without a result of it; False when it was lost.

        A task that moves to an end ends its run by itself. One that is not at its end then is
        admitted again.
        """

    def engine_release(self, kept: Sequence[str] = ()) -> int:
        """Give back the runs of this worker, except those that are `kept`; return how many.

        They may be those of an earlier process of this name, or of a claim whose answer was lost.
        """

    def engine_expired(self) -> int:
        """Return how many runs other workers have whose lease is over.

        They are lost with the next claim, unless their workers extend them before.
        """

    def beat_worker(
        self, version: str, places: int, running: int, waiting_reason: str | None
    ) -> bool:
        """Store what this worker does at the moment, for others to read.

        Return whether it is to take no more tasks. Its places count for the share of each user.
        Tasks that a process of this name has left without the engine may be taken over from now
        on.
        """

    def drain_worker(self, name: str, is_draining: bool) -> bool:  # noqa: FBT001
        """Ask a worker to take no more tasks, or to take them again; False when it is unknown."""

    def remove_worker(self) -> None:
        """Forget this worker, which stops now."""

    def list_workers(self, silence: timedelta) -> list[Worker]:
        """Return the workers that were seen within this time by the database's clock, by name.

        What they have claimed counts as running, also before they have told so.
        """
