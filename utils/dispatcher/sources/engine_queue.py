"""Takes tasks from the task engine of the database, which gives each to one worker at a time."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator

import anyio
import structlog
from anyio import to_thread

from database import Database
from utils.config.settings import Settings
from utils.dispatcher.recovery import RecoveryRules, classify_unfinished
from utils.dispatcher.sources.leases import Leases
from utils.dispatcher.sources.sandbox_limit import SandboxLimit
from utils.dispatcher.sources.source import Ready, RunEnd, RunHost
from utils.dispatcher.sources.waiting_tasks import WaitingTasks
from utils.dispatcher.sources.workers import DRAINED, Workers
from utils.errors import AppError
from utils.maintenance.periodic import run_periodically
from utils.models.engine import EngineRun, Worker
from utils.models.tasks import QueuedTask, TaskStatus

BUSY_PAUSE_SECONDS = 0.25
"""Longest pause between two claims while tasks came within `BUSY_SECONDS`."""

IDLE_PAUSE_SECONDS = 1.5
"""Longest pause otherwise. A task starts within two seconds, with what the claim itself takes."""

BUSY_SECONDS = 60.0

ADMIT_SECONDS = 60.0
"""Pause between two repairs of what the engine and the rows disagree about."""

REFUSED_SECONDS = 5.0
"""Time after which a task whose sandbox was refused may start on any worker."""

HELD_UP_SECONDS = 1.0
"""Time after which a task that this worker could not start may start on any worker."""

log = structlog.get_logger(__name__)


class EngineQueue:
    """Implements `Source`: each task that it hands out is a run of the engine, with a lease.

    With `works` False it claims nothing, and the tasks of this server run on other workers.
    """

    def __init__(
        self, database: Database, settings: Settings, rules: RecoveryRules, places: int
    ) -> None:
        self._database = database
        self._rules = rules
        self._works = settings.work
        self._places = places
        self._user_limit = settings.max_tasks_per_user
        self._waiting = WaitingTasks(database, settings)
        self._sandbox_limit = SandboxLimit(database, settings.max_sandboxes)
        self._workers = Workers(database, settings.server_silence_seconds)
        self._leases = Leases(database, self._workers, settings.server_silence_seconds)
        self._ready: deque[Ready] = deque()
        self._returns: dict[str, float] = {}
        self._refusals: Counter[int] = Counter()
        self._woken = anyio.Event()
        self._returning = anyio.Event()
        self._is_filling = False
        self._must_release = False
        self._busy_until = 0.0
        self._host: RunHost | None = None  # until `begin`

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def has_ready(self) -> bool:
        """See `Source`."""
        return bool(self._ready)

    @property
    def has_peers(self) -> bool:
        """See `Source`."""
        return self._workers.has_others

    def position(self, task_id: int) -> int | None:
        """See `Source`."""
        return self._waiting.position(task_id)

    def positions(self, user_id: str) -> dict[int, int]:
        """See `Source`."""
        return self._waiting.positions(user_id)

    def oldest_seconds(self) -> float:
        """See `Source`."""
        return self._waiting.oldest_seconds()

    def waiting_reason(self, own: str | None) -> str | None:
        """See `Source`."""
        if self._works and self._workers.is_draining:
            return self._workers.reason_of_others(if_alone=DRAINED)
        takes_tasks = self._works and own is None
        reason = None if takes_tasks else self._workers.reason_of_others() or own
        return reason or self._sandbox_limit.reason()

    def workers(self) -> list[Worker]:
        """See `Source`."""
        return self._workers.list()

    def drain_worker(self, name: str, *, is_draining: bool) -> bool:
        """See `Source`."""
        return self._workers.drain(name, is_draining=is_draining)

    @contextlib.contextmanager
    def places(self, user_id: str, count: int) -> Iterator[None]:
        """See `Source`."""
        with self._waiting.places(user_id, count):
            yield

    def add(self, user_id: str, task_id: int, rank: int) -> None:
        """See `Source`."""
        self._waiting.add(user_id, task_id, rank)

    def remove(self, task_id: int) -> bool:
        """See `Source`."""
        return self._waiting.remove(task_id)

    def pop(self, may_run: Callable[[str], bool]) -> Ready | None:  # noqa: ARG002
        """See `Source`. The database has counted the tasks of the user."""
        if self._ready:
            return self._ready.popleft()
        if not self._is_filling:
            # There is a free place, and perhaps a task that was stored just now.
            self._woken.set()
        return None

    def end(self, ready: Ready, end: RunEnd) -> None:
        """See `Source`."""
        if self._leases.drop(ready.task_id) is None or end.has_ended or end.keeps_result:
            return
        if end.refusals > ready.refusals:
            self._refusals[ready.task_id] = end.refusals
            self._give_back(ready.database.server, REFUSED_SECONDS)
        else:
            self._give_back(ready.database.server)

    def join(self) -> None:
        """See `Source`."""
        self._database.use_engine(self._user_limit)
        self._sandbox_limit.set()
        if self._works:
            self._workers.announce(self._places)
            # Now the share of each user is known.
            self._database.engine_admit()

    def recover(self) -> None:
        """See `Source`."""
        if self._works:
            self._database.engine_release()
            if self._database.engine_expired():
                # Perhaps the database was away, so that the others could not extend their leases.
                self._leases.wait_for_others()

    def begin(self, host: RunHost) -> None:
        """See `Source`."""
        self._host = host

    async def run(self) -> None:
        """See `Source`."""
        if not self._works:
            return
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._leases.keep, self._runs)
                tasks.start_soon(self._return_runs)
                tasks.start_soon(run_periodically, "admission", self._admit, ADMIT_SECONDS)
                await self._claim_runs()
        finally:
            with anyio.CancelScope(shield=True):
                await self._leave()

    @property
    def _runs(self) -> RunHost:
        assert self._host is not None  # noqa: S101
        return self._host

    async def _claim_runs(self) -> None:
        while True:
            try:
                if await self._claim():
                    continue
            except AppError as error:
                self._leases.note_failure()
                self._must_release = True
                log.warning("no tasks claimed", action="engine.claim_failed", reason=error.message)
            except Exception:
                # An unexpected error must not end the tasks that run on the same loop.
                self._must_release = True
                log.exception("claim crashed", action="engine.claim_crashed")
            is_busy = time.monotonic() < self._busy_until
            with anyio.move_on_after(BUSY_PAUSE_SECONDS if is_busy else IDLE_PAUSE_SECONDS):
                await self._woken.wait()
            self._woken = anyio.Event()

    async def _claim(self) -> bool:
        """Claim runs for the free places and start them; tell whether there may be more."""
        places = self._runs.free_places()
        if places < 1 or self._workers.is_draining or not self._leases.may_claim:
            return False
        # What was claimed would be lost until the end of its lease.
        with anyio.CancelScope(shield=True):
            await self._release_unknown()
            claim = self._database.engine_claim
            claimed = await to_thread.run_sync(claim, self._leases.seconds, places)
            for run in claimed:
                await self._take(run)
        self._fill()
        if claimed:
            self._busy_until = time.monotonic() + BUSY_SECONDS
        return len(claimed) == places

    async def _release_unknown(self) -> None:
        """Give back what was claimed when the answer was lost, if that may have been so."""
        if self._must_release:
            held = [*self._leases.run_ids, *self._returns]
            await to_thread.run_sync(self._database.engine_release, held)
            self._must_release = False

    async def _take(self, run: EngineRun) -> None:
        task, owned = run.task, self._database.owned_by(run.id)
        if self._runs.has_run(task.id):
            # An earlier run of the task, which was lost or whose turn has ended, is not over here.
            self._give_back(run.id, HELD_UP_SECONDS)
            return
        self._leases.hold(task.id, run.id)
        try:
            ready = await to_thread.run_sync(self._prepare, task, owned)
        except Exception:
            self._leases.drop(task.id)
            self._give_back(run.id, HELD_UP_SECONDS)
            raise
        if ready:
            self._ready.append(ready)
        else:
            self._leases.drop(task.id)

    def _prepare(self, task: QueuedTask, owned: Database) -> Ready | None:
        """Return a claimed task as it starts or goes on; None when it has failed."""
        if task.status is not TaskStatus.PENDING:
            found = classify_unfinished(owned, [task], self._rules)
            for _, run in found.resumable:
                return Ready(task.user_id, task.id, owned, run)
            if not found.queued:
                return None
        refusals = self._refusals.pop(task.id, 0)
        return Ready(task.user_id, task.id, owned, refusals=refusals)

    def _fill(self) -> None:
        self._is_filling = True
        try:
            self._runs.fill()
        finally:
            self._is_filling = False
        while self._ready:
            # Stopping, or waiting for the provider of sandboxes: another worker may be free.
            held_up = self._ready.popleft()
            self._leases.drop(held_up.task_id)
            self._give_back(held_up.database.server, HELD_UP_SECONDS)

    def _give_back(self, run_id: str, seconds: float = 0) -> None:
        self._returns[run_id] = seconds
        self._returning.set()

    async def _return_runs(self) -> None:
        while True:
            await self._returning.wait()
            self._returning = anyio.Event()
            await self._flush()
            if self._returns:
                await anyio.sleep(self._leases.pause_seconds)
                self._returning.set()

    async def _flush(self) -> None:
        later = self._database.engine_later
        for run_id, seconds in list(self._returns.items()):
            try:
                await to_thread.run_sync(later, run_id, seconds)
            except AppError as error:
                # Its lease ends by itself.
                self._leases.note_failure()
                log.warning("run not returned", action="engine.not_returned", reason=error.message)
                return
            del self._returns[run_id]
            self._woken.set()

    async def _admit(self) -> None:
        await to_thread.run_sync(self._database.engine_admit)

    async def _leave(self) -> None:
        """Give back what is left, and forget this worker."""
        await self._flush()
        with contextlib.suppress(AppError):
            await to_thread.run_sync(self._database.remove_worker)
