"""Runs one task: claims it, runs attempts, stores the result."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import anyio
import stamina
import structlog
from anyio import to_thread

from utils.credentials.login_keeper import LoginKeeper
from utils.dispatcher.assignment import Assignment, Claim, completed_claim, prepare
from utils.dispatcher.event_log import DATABASE_RETRY_SECONDS, EventLog
from utils.dispatcher.results import (
    CANCELLED,
    INTERRUPTED,
    SHUTDOWN,
    ResultStore,
    mark_failed,
    requeue_task,
)
from utils.dispatcher.run_context import RunContext
from utils.dispatcher.sources.source import Ready, RunEnd
from utils.dispatcher.task_attempt import INTERNAL_ERROR, TaskAttempt
from utils.errors import (
    AppError,
    DatabaseUnavailable,
    SandboxError,
    SandboxLost,
    SandboxQuotaExceeded,
    SandboxUnavailable,
    TaskError,
    TaskStopped,
)
from utils.models.runs import Outcome
from utils.models.tasks import FOLLOW_UP_RANK, Stage, Task
from utils.pipeline.stop_request import StopRequest
from utils.sandboxes.protocol import Sandbox
from utils.usage.tracker import UsageTracker

LOST_SANDBOX_ATTEMPTS = 3
"""Sandboxes that a task may use when each of them is lost."""

MAX_REFUSALS = 12
"""Refused sandboxes before a task fails; this takes about six minutes or more."""

WAITED_FOR_LOGIN = "waited for another task that used the same sign-in"

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


class TaskRun:
    """Runs one task on the event loop, through the gateway that owns the task.

    If it is ready with a run of an earlier process, its agent has been started.
    """

    def __init__(self, context: RunContext, ready: Ready) -> None:
        context = replace(context, database=ready.database)
        task_id, run = ready.task_id, ready.run
        self.ready = ready
        self.task_id = task_id
        self.request = StopRequest()
        self.ended = anyio.Event()
        self.refusals = ready.refusals
        self.needs_requeue = False
        self.is_left = False
        self._context = context
        self._run = run
        self._has_tried_claim = run is not None
        self._is_stopping = False
        self._has_outcome = False
        self._sandbox_count = 0
        self._has_turn = False
        self._interrupted: set[int] = set()
        self._is_open = False
        self._redactor = context.redactor.child()
        self._logins = LoginKeeper(context.database, context.vault, self._redactor)
        self._events = EventLog(
            context.database, self._redactor, task_id, run, self._handle_lost_task
        )
        self._usage = self._events.usage = UsageTracker(context.usage, self._stop_at_budget)
        self._results = ResultStore(context, self._events, self._redactor)

    @property
    def end(self) -> RunEnd:
        """The end of the run; to be read when it has ended."""
        results = self._results
        return RunEnd(
            waits_again=self.needs_requeue,
            has_ended=results.has_ended,
            is_left=self.is_left,
            keeps_result=results.is_kept,
            refusals=self.refusals,
            rank=FOLLOW_UP_RANK if results.has_result else self.ready.rank,
        )

    @property
    def stage(self) -> str | None:
        """The current stage, None before the first one."""
        return self._events.stage

    @property
    def shown_stage(self) -> str | None:
        """The stage to show; None once a result may be stored, whose row has the last one."""
        return None if self._results.is_storing else self.stage

    def abandon(self) -> None:
        """Stop the task so that it can be queued again or resumed, unless it has a result."""
        self._is_stopping = True
        self.request.stop(TaskStopped("The server is stopping.", SHUTDOWN), abandon=True)

    def interrupt_soon(self, number: int) -> None:
        """Request the end of the turn with this number, so that the next one begins."""
        self._interrupted.add(number)
        self._stop_if_interrupted()

    def _stop_if_interrupted(self) -> None:
        turn = self._results.turn
        # What the agent of an earlier process has changed can be read once its sandbox is open.
        may_stop = self._run is None or self._is_open
        if turn and turn.number in self._interrupted and may_stop:
            self.request.stop(TaskStopped("The user has interrupted this turn.", INTERRUPTED))

    def cancel_soon(self) -> None:
        """Request the end of the task for its user, without waiting for it."""
        self.request.stop(TaskStopped("The task was cancelled.", CANCELLED))

    def _stop_at_budget(self, reason: TaskStopped) -> None:
        seconds = self._context.settings.command_timeout_seconds
        self.request.stop(reason, capture_seconds=seconds)

    def leave(self) -> None:
        """Stop touching the sandbox at once: another server may go on in it.

        A result that was captured before is still stored, if the task still runs here.
        """
        if not self._has_outcome:
            self.is_left = self._is_stopping = True
            self.request.leave(TaskStopped("The task may run on another server.", SHUTDOWN))

    def _handle_lost_task(self) -> None:
        # Another server took the task over while this one could not send heartbeats.
        log.warning("task runs elsewhere", action="task.lost")
        self.leave()

    async def execute(self) -> None:
        """Claim the task, run it, store its result and end its sandbox. Raises no exception.

        Sets `needs_requeue` when no sandbox could be opened and the task has to wait again.
        """
        # The context was copied from the request or task that woke the dispatcher.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(task_id=self.task_id)
        try:
            async with self._log_defects():
                await self._claim_and_run()
        finally:
            self.ended.set()

    @asynccontextmanager
    async def _log_defects(self) -> AsyncIterator[None]:
        # A defect in our code must neither end the dispatcher nor go unnoticed.
        try:
            yield
        except DatabaseUnavailable:
            raise
        except Exception:
            log.exception("task crashed", action="task.crashed")
            await self._fail()

    async def _claim_and_run(self) -> None:
        try:
            claimed = await self._retry_database(self._claim)
            if claimed:
                with self._context.redactor.hold(*claimed.secrets):
                    await self._run_claimed(claimed)
                if self._results.pending:
                    await self._retry_database(self._results.store_pending)
                    await self._results.clean_up()
                if self._results.next_turn_waits:
                    self.needs_requeue = True
            elif not self._context.source.has_peers:
                # No other server can have claimed the task: it has ended or was deleted.
                await self._end_previous_sandbox()
        except DatabaseUnavailable as error:
            log.warning(
                "task left to the next start", action="task.left_running", reason=error.message
            )

    async def _fail(self) -> None:
        try:
            mark = partial(mark_failed, code="internal_error")
            await self._retry_database(
                mark, self._context.database, self.task_id, INTERNAL_ERROR, self.stage
            )
        except Exception:
            log.exception("task left running", action="task.left_running")

    async def _retry_database(self, call: Callable[..., Result], *arguments: Any) -> Result:
        # Without a time limit: nothing else would start this task or store its result. The pause
        # is here and not in the thread, because the other tasks need the threads.
        async for attempt in stamina.retry_context(
            on=self._should_retry, attempts=None, timeout=None, wait_max=DATABASE_RETRY_SECONDS
        ):
            with attempt:
                return await to_thread.run_sync(call, *arguments)
        raise AssertionError("the retries have no end")

    def _should_retry(self, error: Exception) -> bool:
        return isinstance(error, DatabaseUnavailable) and not self._is_stopping

    def _claim(self) -> Claim | None:
        context = self._context
        again, self._has_tried_claim = self._has_tried_claim, True
        claimed = context.database.claim_task(self.task_id, again=again)
        if claimed is None:
            return None
        self._events.start_after(claimed.last_sequence)
        completed = completed_claim(claimed, context.database)
        services = (context.database, context.vault, context.settings, context.agents)
        claim = prepare(completed, *services)
        if isinstance(claim.prepared, TaskError):
            return claim
        spent = self._usage.begin(completed, claim.prepared.job.agent_model, self._run)
        return replace(claim, prepared=spent) if spent else claim

    async def _run_claimed(self, claimed: Claim) -> None:
        task, prepared = claimed.task, claimed.prepared
        self._results.turn = claimed.turn
        # A message may have interrupted the turn while it was claimed, or before a restart.
        if claimed.is_interrupted:
            self._interrupted.add(claimed.turn.number)
        self._stop_if_interrupted()
        log.info("task started", action="task.started", agent=task.agent, attempt=task.attempt)
        if claimed.turn.number > 1 and not self._run and not self._has_turn:
            self._events.report("status", {"turn": claimed.turn.number})
        if isinstance(prepared, TaskError):
            if not (self.request.abandoned and self._run):
                await self._end_previous_sandbox()
                await self._store(task, Outcome.failed(prepared), task.container_id or "")
            return
        if not prepared.access.login_files or self._has_turn:
            await self._run_prepared(task, prepared)
            return
        self._has_turn = True
        key = f"{task.user_id} {prepared.agent.name}"
        async with self._context.login_turns.turn(key, self.request) as has_waited:
            if not has_waited or self.request.reason:
                await self._run_prepared(task, prepared)
            elif again := await self._retry_database(self._claim):
                # The task before may have renewed the login.
                self._events.report("status", {"text": WAITED_FOR_LOGIN})
                await self._run_claimed(again)

    async def _run_prepared(self, task: Task, prepared: Assignment) -> None:
        # For this task only: the secret of one user may be an ordinary word for the others.
        with self._redactor.hold(*prepared.access.secrets):
            # Again here, where the redactor still knows the secrets that an error may contain.
            async with self._log_defects():
                attempted = prepared
                while await self._run_attempt(task, attempted):
                    await self._retry_database(self._usage.end_without_result)
                    self._run = None
                    attempted = replace(prepared, workspace="")
            if self._logins.is_pending:
                await self._retry_database(self._logins.store)

    async def _end_previous_sandbox(self) -> None:
        # The run of the earlier process is not resumed.
        if self._run:
            await self._context.provider.end(self._run.sandbox_id)

    async def _run_attempt(self, task: Task, prepared: Assignment) -> bool:
        """Run the task in one sandbox; return True when it has to run again in another one."""
        self._sandbox_count += 1
        self._has_outcome = self._is_open = False
        context = self._context
        attempt = TaskAttempt(
            prepared,
            context.provider,
            context.limits,
            self._events,
            self._redactor,
            self.request,
            self._handle_opened,
            self._run,
        )
        try:
            async with attempt.outcome() as outcome:
                self._has_outcome = not attempt.is_left_running
                # The work of the agent is stored even while a defect ends the dispatcher.
                with anyio.CancelScope(shield=True):
                    runs_again = await self._settle(task, prepared, attempt, outcome)
                # Not held while the sandbox is ended; see `TaskAttempt.outcome`.
                del outcome
        except TaskError as error:
            return await self._handle_failed_attempt(task, error, attempt.sandbox_id)
        return runs_again

    async def _settle(
        self, task: Task, prepared: Assignment, attempt: TaskAttempt, outcome: Outcome
    ) -> bool:
        """Store the outcome of an attempt; return True when the task has to run again."""
        sent_login, login_files = prepared.sent_login, outcome.login_files
        await self._logins.keep(task, prepared.agent.program, sent_login, login_files)
        if self._may_retry(outcome.failure):
            return True
        if attempt.is_left_running:
            return False
        if not await self._store(task, outcome, attempt.sandbox_id):
            attempt.leave_running()
        elif attempt.is_worth_keeping(outcome):
            attempt.keep = partial(self._keep, prepared)
        return False

    def _handle_opened(self) -> None:
        self._context.admission.record_opened(self.task_id)
        self._is_open = True
        self._stop_if_interrupted()

    async def _keep(self, prepared: Assignment, sandbox: Sandbox) -> bool:
        """Keep the sandbox for the next turn; return False when it has to be ended."""
        context = self._context
        until = datetime.now(UTC) + timedelta(seconds=context.settings.workspace_ttl_seconds)
        logins = [f"{sandbox.paths.home}/{name}" for name in prepared.access.login_files]
        seconds = context.settings.command_timeout_seconds
        try:
            if logins:
                await sandbox.run(["rm", "-f", "--", *logins], timeout_seconds=seconds)
            await sandbox.restrict_egress(())
            # A turn that waits goes on at once; a pause in the cloud would take seconds.
            goes_on = self._results.next_turn_waits and sandbox.survives
            if not goes_on and not await sandbox.pause():
                return False
            keep = context.database.keep_workspace
            return await to_thread.run_sync(keep, self.task_id, sandbox.id, until)
        except AppError as error:
            log.warning("sandbox not kept", action="sandbox.not_kept", reason=error.message)
            return False

    async def _handle_failed_attempt(self, task: Task, error: TaskError, sandbox_id: str) -> bool:
        """Handle an attempt without an outcome; return True when the task has to run again."""
        if self.request.abandoned and self._run:
            return False  # not attached to the sandbox yet; the next process resumes the run
        error.stage = error.stage or self.stage or Stage.CLONING
        if isinstance(error, SandboxQuotaExceeded | SandboxUnavailable):
            await self._handle_refusal(task, error)
        elif self._may_retry(error):
            return True
        else:
            await self._store(task, Outcome.failed(error), sandbox_id)
        return False

    def _may_retry(self, failure: TaskError | None) -> bool:
        is_temporary = isinstance(failure, SandboxLost | SandboxUnavailable)
        if not is_temporary or self.request.reason or self._sandbox_count >= LOST_SANDBOX_ATTEMPTS:
            return False
        started = failure is not None and failure.stage not in {None, Stage.CLONING, Stage.SETUP}
        return not started or self._context.settings.retry_lost_sandbox

    async def _handle_refusal(self, task: Task, error: SandboxError) -> None:
        """Queue the task again, or store its failure after too many refusals."""
        self._context.admission.record_refusal(self.task_id, error)
        self.refusals += isinstance(error, SandboxUnavailable)
        stopped = None if self.request.abandoned else self.request.reason
        if stopped or self.refusals > MAX_REFUSALS:
            await self._store(task, Outcome.failed(stopped or error), "")
        else:
            await self._retry_database(requeue_task, self._context.database, task)
            self.needs_requeue = not self.request.abandoned

    async def _store(self, task: Task, outcome: Outcome, container_id: str) -> bool:
        """Store the outcome; return False when another server may need the sandbox."""
        if self.request.abandoned and outcome.changes is None:
            await self._retry_database(self._usage.end_without_result)
            await self._retry_database(requeue_task, self._context.database, task)
            return True
        if self.request.abandoned and outcome.failure is self.request.reason:
            # The agent had ended by itself and its changes were captured: the outcome is complete.
            outcome = outcome.without_failure()
        if failure := outcome.failure:
            self._events.report("error", {"code": failure.code, "message": failure.message})
        return await self._results.store(task, outcome, container_id)
