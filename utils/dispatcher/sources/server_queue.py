"""Holds the tasks that belong to this server: those it was sent, and those it has taken over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from anyio import to_thread

from database import Database
from utils.config.settings import Settings
from utils.dispatcher.recovery import RecoveryRules, UnfinishedTasks, classify_unfinished
from utils.dispatcher.sources.choice import longest_silence
from utils.dispatcher.sources.fair_queue import FairQueue
from utils.dispatcher.sources.heartbeats import HeartbeatMonitor
from utils.dispatcher.sources.source import Ready, RunEnd, RunHost
from utils.errors import ConfigurationError, DatabaseUnavailable
from utils.models.engine import Worker
from utils.models.tasks import QueuedTask


class ServerQueue:
    """Implements `Source`: a queue in memory, whose rows belong to this server.

    Servers that share the database exchange heartbeats and take over the tasks of ended ones.
    """

    def __init__(self, database: Database, settings: Settings, rules: RecoveryRules) -> None:
        self._database = database
        self._rules = rules
        self._queue = FairQueue(settings.max_queued_tasks, settings.queued_per_user)
        self._heartbeats = HeartbeatMonitor(database, settings.server_silence_seconds)
        self._settings = settings
        self._refusals: Counter[int] = Counter()
        self._found = UnfinishedTasks()
        self._host: RunHost | None = None  # until `begin`

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def has_ready(self) -> bool:
        """See `Source`."""
        return len(self._queue) > 0

    @property
    def has_peers(self) -> bool:
        """See `Source`."""
        return self._heartbeats.has_peers

    @property
    def _runs(self) -> RunHost:
        assert self._host is not None  # noqa: S101
        return self._host

    def position(self, task_id: int) -> int | None:
        """See `Source`."""
        return self._queue.position(task_id)

    def positions(self, user_id: str) -> dict[int, int]:
        """See `Source`."""
        return self._queue.positions(user_id)

    def oldest_seconds(self) -> float:
        """See `Source`."""
        return self._queue.oldest_seconds()

    def waiting_reason(self, own: str | None) -> str | None:
        """See `Source`."""
        return own

    def workers(self) -> list[Worker]:
        """See `Source`."""
        return []

    def drain_worker(self, name: str, *, is_draining: bool) -> bool:  # noqa: ARG002
        """See `Source`."""
        return False

    @contextmanager
    def places(self, user_id: str, count: int) -> Iterator[None]:
        """See `Source`."""
        with self._queue.reserved(user_id, count):
            try:
                yield
            except DatabaseUnavailable:
                # Tasks or a turn may have been stored although the answer was lost.
                self._heartbeats.request_reclaim()
                raise

    def add(self, user_id: str, task_id: int, rank: int) -> None:
        """See `Source`."""
        self._queue.add(user_id, task_id, rank)

    def remove(self, task_id: int) -> bool:
        """See `Source`."""
        return self._queue.remove(task_id)

    def pop(self, may_run: Callable[[str], bool]) -> Ready | None:
        """See `Source`."""
        while entry := self._queue.pop(may_run):
            user_id, task_id, rank = entry
            if self._runs.has_run(task_id):
                # Its turn has ended, but not its run, and the next turn was asked for.
                self._runs.run_again(task_id)
                continue
            refusals = self._refusals.pop(task_id, 0)
            return Ready(user_id, task_id, self._database, refusals=refusals, rank=rank)
        return None

    def end(self, ready: Ready, end: RunEnd) -> None:
        """See `Source`."""
        if end.is_left:
            # If it is still a task of this server, it is resumed when the database answers.
            self._heartbeats.request_reclaim()
        if end.waits_again:
            self._refusals[ready.task_id] = end.refusals
            self._queue.add(ready.user_id, ready.task_id, end.rank)

    def join(self) -> None:
        """See `Source`. Raises `ConfigurationError` beside workers that use the engine."""
        if self._database.is_shared:
            self._leave_engine()
        self._heartbeats.exchange()

    def _leave_engine(self) -> None:
        # With another setting, servers of before may have given tasks to the engine.
        if others := self._database.leave_engine(longest_silence(self._settings)):
            raise ConfigurationError(
                f"Workers of this database ({len(others)}) use its task engine, and would get no "
                "more tasks. Remove TASK_ENGINE=own here, or stop them first. One that was killed "
                f"counts for {2 * self._settings.server_silence_seconds:.0f} s."
            )

    def recover(self) -> None:
        """See `Source`."""
        claimed = self._database.claim_unfinished_tasks(own=True)
        self._found = classify_unfinished(self._database, claimed, self._rules)

    def begin(self, host: RunHost) -> None:
        """See `Source`."""
        self._host = host
        self._resume(self._found, taken_over=False)

    async def run(self) -> None:
        """See `Source`."""
        if self._database.is_shared:
            await self._heartbeats.run(self)

    def has_task(self, task_id: int) -> bool:
        """See `utils.dispatcher.sources.heartbeats.TaskHost`."""
        return task_id in self._queue or self._runs.has_run(task_id)

    def cancel_soon(self, task_id: int) -> None:
        """See `utils.dispatcher.sources.heartbeats.TaskHost`."""
        self._runs.cancel_soon(task_id)

    def interrupt_soon(self, task_id: int, number: int) -> None:
        """See `utils.dispatcher.sources.heartbeats.TaskHost`."""
        self._runs.interrupt_soon(task_id, number)

    def leave_tasks(self) -> None:
        """See `utils.dispatcher.sources.heartbeats.TaskHost`."""
        self._runs.leave_tasks()

    async def resume_tasks(self, tasks: Sequence[QueuedTask], *, taken_over: bool = False) -> None:
        """See `utils.dispatcher.sources.heartbeats.TaskHost`."""
        found = await to_thread.run_sync(classify_unfinished, self._database, tasks, self._rules)
        self._resume(found, taken_over=taken_over)

    def _resume(self, found: UnfinishedTasks, *, taken_over: bool) -> None:
        for task in found.queued:
            if not self.has_task(task.id):
                self._queue.add(task.user_id, task.id, task.queue_rank)
            elif taken_over and self._runs.has_run(task.id):
                # The ended server had taken the task over from this one, where it still runs.
                self._runs.run_again(task.id, at_once=True)
        for task, run in found.resumable:
            if not self.has_task(task.id):
                rank = task.queue_rank
                self._runs.start(Ready(task.user_id, task.id, self._database, run, rank=rank))
        self._runs.fill()
