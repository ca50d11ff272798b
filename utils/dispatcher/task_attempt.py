"""One attempt at a task in one sandbox: opens or finds it, runs the pipeline, ends it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import anyio
import stamina
import structlog

from utils.dispatcher.assignment import Assignment
from utils.dispatcher.event_log import DATABASE_RETRY_SECONDS, EventLog
from utils.errors import DatabaseUnavailable, SandboxUnavailable, TaskError, TaskStopped
from utils.models.runs import AgentRun, Outcome, StageTiming
from utils.models.tasks import Stage
from utils.pipeline.pipeline import PipelineLimits, Resumption, Work, run_pipeline
from utils.pipeline.stop_request import StopRequest
from utils.redaction import Redactor
from utils.sandboxes.protocol import Sandbox, SandboxProvider

ATTACH_WAIT_SECONDS = 5.0
"""Longest pause between two tries to reach the sandbox of an earlier process."""

MISTAKE = (
    "The server made a mistake while it ran this task. Start the task again; the server's log has "
    "the details."
)

log = structlog.get_logger(__name__)


class TaskAttempt:
    """Does an assignment in one sandbox; `run` is that of an earlier process, to go on with.

    `opened` is called when there is a sandbox.
    """

    def __init__(
        self,
        assignment: Assignment,
        provider: SandboxProvider,
        limits: PipelineLimits,
        events: EventLog,
        redactor: Redactor,
        stop: StopRequest,
        opened: Callable[[], None],
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
        self._opened = opened
        self.left_running = False
        """Whether the agent works on by itself, for the next process to go on with."""

    @asynccontextmanager
    async def outcome(self) -> AsyncIterator[Outcome]:
        """Give what came of it while the sandbox is still there; end the sandbox afterwards.

        Raises `SandboxError` when no sandbox could be had, `TaskStopped` when it was not waited
        for any more.
        """
        try:
            sandbox = await self._open()
        except Exception:
            # Its agent works, and is paid for, until its sandbox is ended.
            if self.run and not self._stop.abandoned:
                with anyio.CancelScope(shield=True):
                    await self._provider.end(self.run.sandbox_id)
            raise
        self._opened()
        self.sandbox_id = sandbox.id
        try:
            outcome = await self._run_in(sandbox)
            unfinished = self._stop.abandoned and outcome.changes is None
            self.left_running = unfinished and sandbox.survives and self.run is not None
            yield outcome
        finally:
            if self.left_running:
                self._provider.leave(sandbox.id)
            else:
                with anyio.CancelScope(shield=True):
                    await sandbox.close()

    def leave(self) -> None:
        """Do not end the sandbox where another process can go on with what runs in it."""
        self.left_running = self.run is not None

    async def _open(self) -> Sandbox:
        request = self._assignment.request
        with self._stop.work_scope(self._limits.total_seconds):
            if self.run is None:
                return await self._provider.open(request)
            async for attempt in stamina.retry_context(
                on=SandboxUnavailable, attempts=None, timeout=None, wait_max=ATTACH_WAIT_SECONDS
            ):
                with attempt:
                    return await self._provider.attach(self.run.sandbox_id, request)
        raise self._stop.reason or TaskStopped(
            "No sandbox could be reached within SANDBOX_TIMEOUT_SECONDS. Start the task again.",
            "sandbox_timeout",
        )

    async def _run_in(self, sandbox: Sandbox) -> Outcome:
        try:
            async with anyio.create_task_group() as background:
                background.start_soon(self._events.follow, sandbox.id)
                background.start_soon(sandbox.keep_alive)
                outcome = await run_pipeline(
                    sandbox, self._work(sandbox), self._stop, _resumption(self.run)
                )
                background.cancel_scope.cancel()
        except Exception:
            log.exception("pipeline crashed", action="pipeline.crashed")
            return Outcome.failed(TaskError(MISTAKE, "internal_error", stage=self._events.stage))
        return outcome

    def _work(self, sandbox: Sandbox) -> Work:
        async def before_agent(base_commit: str, timings: Sequence[StageTiming]) -> None:
            if sandbox.survives:
                await self._store_run(sandbox.id, base_commit, timings)

        return Work(
            job=self._assignment.job,
            agent=self._assignment.agent,
            access=self._assignment.access,
            limits=self._limits,
            observer=self._events,
            redact=self._redactor.redact,
            before_agent=before_agent,
        )

    async def _store_run(
        self, sandbox_id: str, base_commit: str, timings: Sequence[StageTiming]
    ) -> None:
        self._events.enter(Stage.AGENT)
        run = AgentRun(
            task_id=self._assignment.job.task_id,
            sandbox_id=sandbox_id,
            base_commit=base_commit,
            agent_started_at=datetime.now(UTC),
            stage_seconds={str(timing.stage): timing.seconds for timing in timings},
            position=self._events.position,
        )
        # Without this row a restart would start the agent, and pay for it, a second time.
        async for attempt in stamina.retry_context(
            on=DatabaseUnavailable, attempts=None, timeout=None, wait_max=DATABASE_RETRY_SECONDS
        ):
            with attempt:
                if not await self._events.store_run(run):
                    raise TaskStopped("The task was ended by someone else.", "cancelled")
        self.run = run


def _resumption(run: AgentRun | None) -> Resumption | None:
    if run is None:
        return None
    age = datetime.now(UTC) - run.agent_started_at
    return Resumption(
        base_commit=run.base_commit,
        agent_age_seconds=max(age.total_seconds(), 0.0),
        timings=[StageTiming(Stage(name), secs) for name, secs in run.stage_seconds.items()],
        position=run.position,
    )
