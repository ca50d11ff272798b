"""Keeps the leases of the runs that the task engine has given to this worker.

A run whose lease is over is given to another worker. The database measures the leases, so that all
of them are over after it was away: then each worker extends its own before it claims others.
"""

from __future__ import annotations

import math
import time
from functools import partial

import anyio
import structlog
from anyio import to_thread

from database import Database
from utils.dispatcher.sources.outage import Outage
from utils.dispatcher.sources.source import RunHost
from utils.dispatcher.sources.workers import Workers
from utils.errors import AppError

BEATS_PER_LEASE = 6
"""Beats that a worker sends within the time of a lease."""

BEATS_WHILE_AWAY = 5
"""Attempts to reach a database that is away, within the pause between two beats."""

log = structlog.get_logger(__name__)


class Leases:
    """Extends the leases of the held runs, and passes on what the engine tells about them.

    Used on the event loop. `pause_seconds` is the time between two beats.
    """

    def __init__(self, database: Database, workers: Workers, silence_seconds: float) -> None:
        self.seconds = max(math.ceil(silence_seconds), 1)
        self.pause_seconds = silence_seconds / BEATS_PER_LEASE
        self._database = database
        self._workers = workers
        self._run_ids: dict[int, str] = {}
        self._confirmed_at = time.monotonic()
        self._claims_from = 0.0
        self._is_away = False
        self._outage = Outage()

    @property
    def may_claim(self) -> bool:
        """False from an error of the database until the others had time for a beat after it.

        Also false while leases of this worker may be over, because it was asleep: its own claim
        would take them away from it.
        """
        now = time.monotonic()
        is_late = bool(self._run_ids) and now - self._confirmed_at >= self.seconds
        return not self._is_away and not is_late and now >= self._claims_from

    @property
    def run_ids(self) -> list[str]:
        """The runs that are held."""
        return list(self._run_ids.values())

    def hold(self, task_id: int, run_id: str) -> None:
        """Hold a run that was claimed just now."""
        if not self._run_ids:
            self._confirmed_at = time.monotonic()
        self._run_ids[task_id] = run_id

    def drop(self, task_id: int) -> str | None:
        """Extend the lease of a task's run no longer; return its id, None when it was lost."""
        return self._run_ids.pop(task_id, None)

    def wait_for_others(self) -> None:
        """Claim nothing until the other workers had time for a beat."""
        self._claims_from = time.monotonic() + self.pause_seconds

    def note_failure(self) -> None:
        """Note that the database has failed: all leases may be over when it is back."""
        self._is_away = True

    async def keep(self, host: RunHost) -> None:
        """Extend the leases until cancelled."""
        async with anyio.create_task_group() as background:
            background.start_soon(self._watch, host)
            while True:
                shorter = BEATS_WHILE_AWAY if self._is_away else 1
                await anyio.sleep(self.pause_seconds / shorter)
                try:
                    await self._beat(host)
                except AppError as error:
                    self.note_failure()
                    if self._outage.begins():
                        log.warning("beat not sent", action="lease.failed", reason=error.message)
                    continue
                except Exception:
                    # An unexpected error must not end the tasks that run on the same loop.
                    log.exception("beat crashed", action="lease.crashed")
                    continue
                if (seconds := self._outage.ends()) is not None:
                    log.info("beats sent again", action="lease.recovered", seconds=round(seconds))

    async def _beat(self, host: RunHost) -> None:
        asked_at, held = time.monotonic(), dict(self._run_ids)
        if held or self._is_away:
            extend = partial(self._database.engine_beat, list(held.values()), self.seconds)
            answer = await to_thread.run_sync(extend)
            if self._is_away:
                self._is_away = False
                self.wait_for_others()
            self._confirmed_at = asked_at
            task_ids = {run_id: task_id for task_id, run_id in held.items()}
            for run_id in answer.lost:
                self._lose(task_ids[run_id], run_id, host)
            for run_id in answer.cancelled:
                host.cancel_soon(task_ids[run_id])
            for turn in answer.interrupted:
                host.interrupt_soon(*turn)
        await self._workers.report(host)

    def _lose(self, task_id: int, run_id: str, host: RunHost) -> None:
        if self._run_ids.get(task_id) == run_id:
            del self._run_ids[task_id]
            if host.leave_task(task_id):
                log.warning("run lost", action="lease.lost", task_id=task_id)

    async def _watch(self, host: RunHost) -> None:
        """Leave the tasks before another worker is given them for want of beats.

        A single worker goes on: nobody else can have its tasks.
        """
        has_left = False
        while True:
            over_at = self._confirmed_at + self.seconds - self.pause_seconds
            left_seconds = over_at - time.monotonic() if self._run_ids else self.pause_seconds
            if left_seconds <= 0 and self._workers.has_others and not has_left:
                has_left = True
                log.warning("tasks left to other workers", action="lease.tasks_left")
                host.leave_tasks()
            has_left = has_left and left_seconds <= 0
            await anyio.sleep(left_seconds if left_seconds > 0 else self.pause_seconds)
