"""Runs a task once in one sandbox: opens the sandbox, runs the pipeline, ends the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import anyio
import stamina
import structlog

from utils.dispatcher.assignment import Assignment
from utils.dispatcher.event_log import DATABASE_RETRY_SECONDS, EventLog
from utils.errors import (
    DatabaseUnavailable,
    SandboxError,
    SandboxLost,
    SandboxUnavailable,
    TaskError,
    TaskStopped,
)
from utils.models.runs import AgentRun, Outcome, StageTiming
from utils.models.tasks import Stage
from utils.pipeline.pipeline import PipelineLimits, Resumption, Work, run_pipeline
from utils.pipeline.stop_request import StopRequest
from utils.pipeline.workspace import Start
from utils.redaction import Redactor
from utils.sandboxes.protocol import Sandbox, SandboxProvider, SandboxRequest

ATTACH_WAIT_SECONDS = 5.0
"""Longest pause between two attempts to reach the sandbox of an earlier process."""

INTERNAL_ERROR = (
    "The task failed because of an internal error of the server. Start the task again; the details "
    "are in the server's log."
)

log = structlog.get_logger(__name__)


class TaskAttempt:
    """Runs an assignment in one sandbox.

    `run` is the run of an earlier process to resume. `on_opened` is called when the sandbox is
    open.
    """

    def __init__(
        self,
        assignment: Assignment,
        provider: SandboxProvider,
        limits: PipelineLimits,
        events: EventLog,
        redactor: Redactor,
        stop: StopRequest,
        on_opened: Callable[[], None],
        run: AgentRun | None = None,
    ) -> None:
        self.run = run
        self.sandbox_id = run.sandbox_id if run else ""
        self._assignment = assignment
        self._provider = provider
        self._limits = limits
        self._events = events
        self._redactor = redactor
        self._stop = stop
        self._on_opened = on_opened
        # The command of an agent that was not started yet goes on with the session.
        self._is_kept = bool(run and run.position.get("start", (None, None, False))[2])
        self.is_left_running = False
        """True when the agent continues without this process, and the next process resumes it."""
        self.keep: Callable[[Sandbox], Awaitable[bool]] | None = None
        """Keeps the sandbox for the next turn instead of ending it; returns False if it cannot."""

    @asynccontextmanager
    async def outcome(self) -> AsyncIterator[Outcome]:
        """Run the task and yield its outcome while the sandbox is open; then end the sandbox.

        Raises `SandboxError` when no sandbox could be opened, and `TaskStopped` when the task was
        stopped before that.
        """
        try:
            sandbox = await self._open()
        except Exception as error:
            if self.run and isinstance(error, SandboxLost):
                self._report_sandbox("lost", self.run.sandbox_id)
            # The agent keeps running, and costs money, until its sandbox is ended.
            if self.run and not self._stop.abandoned:
                await self._provider.end(self.run.sandbox_id)
            raise
        self._on_opened()
        self.sandbox_id = sandbox.id
        if self.run or self._is_kept:
            log.info("sandbox found again", action="sandbox.attached", sandbox_id=sandbox.id)
            self._report_sandbox("resumed", sandbox.id)
        else:
            log.info("sandbox opened", action="sandbox.opened", sandbox_id=sandbox.id)
            self._report_sandbox("created", sandbox.id)
        try:
            outcome = await self._run_in(sandbox)
            unfinished = self._stop.abandoned and outcome.changes is None
            self.is_left_running = unfinished and sandbox.survives and self.run is not None
            if not self.is_left_running:
                self._report_sandbox(self._end_of(outcome), sandbox.id)
            # Many sandboxes may end at once, and a result may be large: it is not held until then.
            outcomes = [outcome]
            del outcome
            yield outcomes.pop()
        finally:
            with anyio.CancelScope(shield=True):
                if self.is_left_running or (self.keep and await self.keep(sandbox)):
                    self._provider.release(sandbox.id)
                else:
                    await sandbox.close()

    def is_worth_keeping(self, outcome: Outcome) -> bool:
        """Tell whether the next turn can go on in the sandbox: its files are those of the result.

        Nobody goes on soon with a task that was cancelled.
        """
        is_cancelled = outcome.failure is not None and outcome.failure.code == "cancelled"
        is_complete = outcome.has_all_changes and not self._stop.abandoned
        return self._assignment.keeps_workspace and is_complete and not is_cancelled

    def _end_of(self, outcome: Outcome) -> str:
        if isinstance(outcome.failure, SandboxLost):
            return "lost"
        return "paused" if self.is_worth_keeping(outcome) else "ended"

    def leave_running(self) -> None:
        """Leave the sandbox open when another process can resume the agent in it."""
        self.is_left_running = self.run is not None

    def _report_sandbox(self, state: str, sandbox_id: str) -> None:
        provider = self._provider.kind.name
        self._events.report("sandbox", {"state": state, "id": sandbox_id, "provider": provider})

    async def _open(self) -> Sandbox:
        request = replace(self._assignment.request, still_runs_here=self._events.still_runs_here)
        with self._stop.work_scope(self._limits.total_seconds):
            if self.run is None:
                kept = await self._resume(request) if self._assignment.workspace else None
                return kept or await self._provider.open(request)
            async for attempt in stamina.retry_context(
                on=SandboxUnavailable, attempts=None, timeout=None, wait_max=ATTACH_WAIT_SECONDS
            ):
                with attempt:
                    aged = replace(request, age_seconds=_age_seconds(self.run))
                    return await self._provider.attach(self.run.sandbox_id, aged)
        raise self._stop.reason or TaskStopped(
            "No sandbox could be reached within SANDBOX_TIMEOUT_SECONDS. Start the task again.",
            "sandbox_timeout",
        )

    async def _resume(self, request: SandboxRequest) -> Sandbox | None:
        """Return the kept sandbox of the turn before, None when it is gone."""
        workspace, sandbox = self._assignment.workspace, None
        try:
            sandbox = await self._provider.resume(workspace, request)
            self._is_kept = True
        except SandboxError as error:
            log.info("workspace not found", action="sandbox.gone", reason=error.message)
            await self._provider.end(workspace)
        # From now on its files may be those of a turn that is interrupted by a crash.
        async for attempt in stamina.retry_context(
            on=DatabaseUnavailable, attempts=None, timeout=None, wait_max=DATABASE_RETRY_SECONDS
        ):
            with attempt:
                if not await self._events.forget_workspace():
                    raise TaskStopped("The task was ended by another server.", "cancelled")
        return sandbox

    async def _run_in(self, sandbox: Sandbox) -> Outcome:
        try:
            async with anyio.create_task_group() as background:
                background.start_soon(self._events.run_writer, sandbox.id)
                background.start_soon(self._keep_alive, sandbox)
                outcome = await run_pipeline(
                    sandbox, self._work(sandbox), self._stop, _resumption(self.run)
                )
                background.cancel_scope.cancel()
        except anyio.get_cancelled_exc_class():
            # A defect has ended the dispatcher. The next start resumes the agent where it can.
            self.is_left_running = sandbox.survives and self.run is not None
            raise
        except Exception:
            log.exception("pipeline crashed", action="pipeline.crashed")
            return Outcome.failed(
                TaskError(INTERNAL_ERROR, "internal_error", stage=self._events.stage)
            )
        return outcome

    async def _keep_alive(self, sandbox: Sandbox) -> None:
        left_seconds = await sandbox.keep_alive(
            lambda text: self._events.report("status", {"text": text})
        )
        if self._events.stage in {Stage.CAPTURING, Stage.CHECKING}:
            return
        self._stop.stop(
            TaskStopped(
                "The task was ended because its sandbox has reached the longest life that the "
                "plan of the E2B account allows. Its changes up to then are stored. Ask for less "
                "in one task, or use a larger plan.",
                "sandbox_timeout",
            ),
            capture_seconds=left_seconds,
        )

    def _work(self, sandbox: Sandbox) -> Work:
        async def before_agent(base_commit: str, timings: Sequence[StageTiming]) -> None:
            if sandbox.survives:
                await self._store_run(sandbox.id, base_commit, timings)

        job = self._assignment.job
        if self._is_kept:
            job = job.with_kept_files()
        return Work(
            job=job,
            agent=self._assignment.agent,
            access=self._assignment.access,
            limits=self._limits,
            observer=self._events,
            redact=self._redactor.redact,
            has_secret=self._redactor.finds_in,
            before_agent=before_agent,
        )

    async def _store_run(
        self, sandbox_id: str, base_commit: str, timings: Sequence[StageTiming]
    ) -> None:
        self._events.begin_stage(Stage.AGENT)
        run = AgentRun(
            task_id=self._assignment.job.task_id,
            sandbox_id=sandbox_id,
            base_commit=base_commit,
            agent_started_at=datetime.now(UTC),
            stage_seconds={str(timing.stage): timing.seconds for timing in timings},
            position=self._events.position,
        )
        # Without this row a restart would start the agent, and cause its costs, a second time.
        async for attempt in stamina.retry_context(
            on=DatabaseUnavailable, attempts=None, timeout=None, wait_max=DATABASE_RETRY_SECONDS
        ):
            with attempt:
                if not await self._events.store_run(run):
                    raise TaskStopped("The task was ended by another server.", "cancelled")
        self.run = run


def _resumption(run: AgentRun | None) -> Resumption | None:
    if run is None:
        return None
    # Runs of earlier versions have no start: all were first turns.
    commit, tree, is_kept = run.position.get("start", (run.base_commit, "", False))
    further = (
        Start(base_commit, other_commit, other_tree, is_kept, branch)
        for base_commit, other_commit, other_tree, branch in run.position.get("further", ())
    )
    return Resumption(
        start=Start(run.base_commit, commit, tree, is_kept, further=tuple(further)),
        agent_age_seconds=_age_seconds(run),
        timings=[StageTiming(Stage(name), secs) for name, secs in run.stage_seconds.items()],
        position=run.position,
    )


def _age_seconds(run: AgentRun) -> float:
    """Return the time since the agent of an earlier process was started."""
    return max((datetime.now(UTC) - run.agent_started_at).total_seconds(), 0.0)
