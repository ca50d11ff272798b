"""One task from claim to stored result."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import anyio
import stamina
import structlog
from anyio import to_thread

from utils.dispatcher.assignment import Assignment, Claim, prepare
from utils.dispatcher.event_log import DATABASE_RETRY_SECONDS, EventLog
from utils.dispatcher.result_store import ResultStore
from utils.dispatcher.run_context import RunContext
from utils.dispatcher.task_attempt import MISTAKE, TaskAttempt
from utils.dispatcher.task_result import CANCELLED, SHUTDOWN, mark_failed, put_back
from utils.errors import (
    DatabaseUnavailable,
    SandboxError,
    SandboxLost,
    SandboxQuotaExceeded,
    SandboxUnavailable,
    TaskError,
    TaskStopped,
)
from utils.models.runs import AgentRun, Outcome
from utils.models.tasks import Stage, Task
from utils.pipeline.stop_request import StopRequest

LOST_SANDBOX_TRIES = 3
"""Sandboxes that a task gets when one after the other is lost."""

MAX_REFUSALS = 12
"""Times that no sandbox can be had for a task before it fails; about six minutes at least."""

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


class TaskRun:
    """A task that is running, or about to. Lives on the event loop.

    `run` is what an earlier process left of it: its agent works already. `refusals` counts how
    often no sandbox could be had for it before.
    """

    def __init__(
        self,
        parts: RunContext,
        user_id: str,
        task_id: int,
        run: AgentRun | None = None,
        refusals: int = 0,
    ) -> None:
        self.user_id = user_id
        self.task_id = task_id
        self.request = StopRequest()
        self.ended = anyio.Event()
        self.refusals = refusals
        self.must_wait = False
        self._parts = parts
        self._run = run
        self._claim_tried = run is not None
        self._giving_up = False
        self._sandboxes = 0
        self._redactor = parts.redactor.child()
        self._events = EventLog(parts.database, self._redactor, task_id, run, self._lost)
        self._results = ResultStore(parts, self._events, self._redactor)

    @property
    def stage(self) -> str | None:
        """What it is doing right now."""
        return self._events.stage

    def abandon(self) -> None:
        """Have the task put back or left to its sandbox, unless its result is there already."""
        self._giving_up = True
        self.request.stop(TaskStopped("The server is stopping.", SHUTDOWN), abandon=True)

    def stop_for_user(self) -> None:
        """Have the task stopped for its user."""
        self.request.stop(TaskStopped("The task was cancelled.", CANCELLED))

    def _lost(self) -> None:
        # Another server took it over while this one could not be seen to work.
        log.warning("task runs elsewhere", action="task.lost")
        self.abandon()

    async def cancel(self, seconds: float) -> bool:
        """Have the task stopped for its user, and wait so long for its end.

        False when it is given up already because the server stops.
        """
        self.stop_for_user()
        with anyio.move_on_after(seconds):
            await self.ended.wait()
        return not self.request.abandoned

    async def execute(self) -> None:
        """Claim the task, run it, store its result, remove its sandbox. Raises nothing.

        Afterwards `must_wait` says whether it was put back because no sandbox could be had.
        """
        # The context is a copy of that of whichever request or task woke the dispatcher.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(task_id=self.task_id)
        try:
            async with self._last_resort():
                await self._claim_and_run()
        finally:
            self.ended.set()

    @asynccontextmanager
    async def _last_resort(self) -> AsyncIterator[None]:
        # A defect of ours must neither end the dispatcher nor be lost.
        try:
            yield
        except DatabaseUnavailable:
            raise
        except Exception:
            log.exception("task crashed", action="task.crashed")
            await self._fail()

    async def _claim_and_run(self) -> None:
        try:
            claimed = await self._ask_database(self._claim)
            if claimed:
                with self._parts.redactor.hold(claimed.token):
                    await self._work_on(claimed)
                if self._results.waiting:
                    await self._ask_database(self._results.store_waiting)
                    await self._results.clear_up()
            elif not self._parts.neighbours.has_peers:
                # Nobody else can have taken the task over: it has ended, or is gone.
                await self._end_left()
        except DatabaseUnavailable as error:
            log.warning(
                "task left to the next start", action="task.left_running", reason=error.message
            )

    async def _fail(self) -> None:
        try:
            mark = partial(mark_failed, code="internal_error")
            await self._ask_database(mark, self._parts.database, self.task_id, MISTAKE, self.stage)
        except Exception:
            log.exception("task left running", action="task.left_running")

    async def _ask_database(self, ask: Callable[..., Result], *arguments: Any) -> Result:
        # For as long as it takes: nobody else would ever start this task or store its result.
        # The wait is here, not in the thread, because the other tasks need the threads.
        async for attempt in stamina.retry_context(
            on=self._waits_for, attempts=None, timeout=None, wait_max=DATABASE_RETRY_SECONDS
        ):
            with attempt:
                return await to_thread.run_sync(ask, *arguments)
        raise AssertionError("the retries have no end")

    def _waits_for(self, error: Exception) -> bool:
        return isinstance(error, DatabaseUnavailable) and not self._giving_up

    def _claim(self) -> Claim | None:
        parts = self._parts
        again, self._claim_tried = self._claim_tried, True
        claimed = parts.database.claim_task(self.task_id, again=again)
        if claimed is None:
            return None
        self._events.start_after(claimed.last_sequence)
        return prepare(claimed, parts.vault, parts.settings, parts.agents)

    async def _work_on(self, claimed: Claim) -> None:
        task, prepared = claimed.task, claimed.prepared
        if isinstance(prepared, TaskError):
            if not (self.request.abandoned and self._run):
                await self._end_left()
                await self._store(task, Outcome.failed(prepared), "")
            return
        # Only for this task: what a user calls a secret may be an ordinary word to all others.
        with self._redactor.hold(*prepared.access.secrets):
            # Here too, while the secrets that may stand in an error are known.
            async with self._last_resort():
                while await self._try_once(task, prepared):
                    self._run = None

    async def _end_left(self) -> None:
        # What an earlier process left is not gone on with.
        if self._run:
            with anyio.CancelScope(shield=True):
                await self._parts.provider.end(self._run.sandbox_id)

    async def _try_once(self, task: Task, prepared: Assignment) -> bool:
        """Run the task in one sandbox; True when it has to be run in another one."""
        self._sandboxes += 1
        parts = self._parts
        attempt = TaskAttempt(
            prepared,
            parts.provider,
            parts.limits,
            self._events,
            self._redactor,
            self.request,
            partial(parts.gate.opened, self.task_id),
            self._run,
        )
        try:
            async with attempt.outcome() as outcome:
                if self._may_try_again(outcome.failure):
                    return True
                if not attempt.left_running:
                    with anyio.CancelScope(shield=True):
                        if not await self._store(task, outcome, attempt.sandbox_id):
                            attempt.leave()
        except TaskError as error:
            return await self._came_to_nothing(task, error, attempt.sandbox_id)
        return False

    async def _came_to_nothing(self, task: Task, error: TaskError, sandbox_id: str) -> bool:
        """Settle a try without an outcome; True when the task has to be run in another sandbox."""
        if self.request.abandoned and self._run:
            return False  # the sandbox was not reached yet; the next process goes on with it
        error.stage = error.stage or self.stage or Stage.CLONING
        if isinstance(error, SandboxQuotaExceeded | SandboxUnavailable):
            await self._refused(task, error)
        elif self._may_try_again(error):
            return True
        else:
            await self._store(task, Outcome.failed(error), sandbox_id)
        return False

    def _may_try_again(self, failure: TaskError | None) -> bool:
        passing = isinstance(failure, SandboxLost | SandboxUnavailable)
        if not passing or self.request.reason or self._sandboxes >= LOST_SANDBOX_TRIES:
            return False
        started = failure is not None and failure.stage not in {None, Stage.CLONING}
        return not started or self._parts.settings.retry_lost_sandbox

    async def _refused(self, task: Task, error: SandboxError) -> None:
        """Put the task back until a sandbox can be had."""
        self._parts.gate.refused(self.task_id, error)
        self.refusals += isinstance(error, SandboxUnavailable)
        stopped = None if self.request.abandoned else self.request.reason
        if stopped or self.refusals > MAX_REFUSALS:
            await self._store(task, Outcome.failed(stopped or error), "")
        else:
            await self._ask_database(put_back, self._parts.database, task)
            self.must_wait = not self.request.abandoned

    async def _store(self, task: Task, outcome: Outcome, container_id: str) -> bool:
        """Store what came of it; False when another server may need the sandbox."""
        if self.request.abandoned and outcome.changes is None:
            await self._ask_database(put_back, self._parts.database, task)
            return True
        if self.request.abandoned and outcome.failure is self.request.reason:
            # The agent had ended by itself and its changes are read: nothing is missing.
            outcome = outcome.without_failure()
        if failure := outcome.failure:
            self._events.report("error", {"code": failure.code, "message": failure.message})
        return await self._results.store(task, outcome, container_id)
