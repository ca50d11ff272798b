"""One task from claim to stored result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
import stamina
import structlog
from anyio import to_thread

from database import Database
from utils.agents import choose_agent
from utils.errors import DatabaseUnavailable, NotFound, TaskError, TaskStopped
from utils.event_log import EventLog
from utils.models import Job, Outcome, Stage, Task, TaskStatus
from utils.pipeline import PipelineLimits, StopRequest, run_pipeline
from utils.redaction import Redactor
from utils.sandbox import Sandbox, SandboxProvider
from utils.task_result import SHUTDOWN, final_status, result_fields, summary_message
from utils.telemetry import Metrics
from utils.vault import Vault

DATABASE_RETRY_SECONDS = 2.0

MISTAKE = (
    "The server made a mistake while it ran this task. Start the task again; the server's log has "
    "the details."
)

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RunParts:
    """What every run needs; made once by the dispatcher."""

    database: Database
    provider: SandboxProvider
    vault: Vault
    redactor: Redactor
    metrics: Metrics
    limits: PipelineLimits


class TaskRun:
    """A task that is running, or about to. Lives on the event loop."""

    def __init__(self, parts: RunParts, user_id: str, task_id: int) -> None:
        self.user_id = user_id
        self.task_id = task_id
        self.request = StopRequest()
        self.ended = anyio.Event()
        self._parts = parts
        self._claim_tried = False
        self._giving_up = False
        self._events = EventLog(parts.database, parts.redactor, task_id)

    @property
    def stage(self) -> str | None:
        """What it is doing right now."""
        return self._events.stage

    def abandon(self) -> None:
        """Have the task put back, unless its result is there already; wait for nothing."""
        self._giving_up = True
        self.request.stop(TaskStopped("The server is stopping.", SHUTDOWN), abandon=True)

    async def execute(self) -> None:
        """Claim the task, run it, store its result, remove its sandbox. Raises nothing."""
        # The context is a copy of that of whichever request or task woke the dispatcher.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(task_id=self.task_id)
        try:
            await self._claim_and_run()
        except Exception:
            # The last resort: a defect of ours must neither end the dispatcher nor be lost.
            log.exception("task run broke", action="task_run_broke")
            await self._fail()
        finally:
            self.ended.set()

    async def _claim_and_run(self) -> None:
        try:
            claimed = await self._ask_database(self._claim)
            if claimed:
                task, token = claimed
                with self._parts.redactor.hold(token):
                    await self._run(task, token)
        except DatabaseUnavailable as error:
            log.warning("task left to the next start", action="task_left", reason=error.message)

    async def _fail(self) -> None:
        try:
            await self._ask_database(self._mark_broken)
        except Exception:
            log.exception("task left running", action="task_left")

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

    def _claim(self) -> tuple[Task, str | None] | None:
        retried, self._claim_tried = self._claim_tried, True
        moved = self._parts.database.move_task(
            self.task_id, {TaskStatus.PENDING}, TaskStatus.RUNNING, stage=Stage.CLONING
        )
        try:
            task, ciphertext = self._parts.database.get_job_task(self.task_id)
            # Only the answer to the first try may have been lost: then the task is ours already.
            if not moved and not (retried and task.status is TaskStatus.RUNNING):
                return None
            token = self._parts.vault.decrypt(ciphertext) if ciphertext else None
        except NotFound:
            return None
        except TaskError as error:
            self._finish(task, _nothing(error), "")
            return None
        return task, token.get_secret_value() if token else None

    async def _run(self, task: Task, token: str | None) -> None:
        try:
            sandbox = await self._parts.provider.open(task.id)
        except TaskError as error:
            await self._store(task, _nothing(error), "")
            return
        try:
            outcome = await self._run_in(sandbox, task, token)
            with anyio.CancelScope(shield=True):
                await self._store(task, outcome, sandbox.id)
        finally:
            with anyio.CancelScope(shield=True):
                await sandbox.close()

    async def _run_in(self, sandbox: Sandbox, task: Task, token: str | None) -> Outcome:
        agent, job = choose_agent(task.agent), _job(task, token)
        try:
            async with anyio.create_task_group() as background:
                background.start_soon(self._events.follow, sandbox.id)
                outcome = await run_pipeline(
                    sandbox,
                    job,
                    agent,
                    self._parts.limits,
                    self._events.report,
                    self.request,
                    self._parts.redactor.redact,
                )
                background.cancel_scope.cancel()
        except Exception:
            log.exception("pipeline broke", action="pipeline_broke")
            return _nothing(TaskError(MISTAKE, "internal_error", stage=self.stage))
        return outcome

    async def _store(self, task: Task, outcome: Outcome, container_id: str) -> None:
        if self.request.abandoned and outcome.changes is None:
            await self._ask_database(self._put_back, task)
            return
        if self.request.abandoned and outcome.failure is self.request.reason:
            # The agent had ended by itself and its changes are read: nothing is missing.
            outcome = dataclasses.replace(outcome, failure=None)
        if failure := outcome.failure:
            self._events.report("error", {"code": failure.code, "message": failure.message})
        await self._ask_database(self._finish, task, outcome, container_id)

    def _mark_broken(self) -> None:
        self._parts.database.move_task(
            self.task_id,
            {TaskStatus.RUNNING},
            TaskStatus.FAILED,
            error=MISTAKE,
            error_code="internal_error",
            error_stage=self.stage,
        )

    def _put_back(self, task: Task) -> None:
        # A shutdown is not the task's fault: the attempt does not count.
        self._parts.database.move_task(
            task.id,
            {TaskStatus.RUNNING},
            TaskStatus.PENDING,
            attempt=task.attempt - 1,
            stage=None,
            started_at=None,
        )
        log.info("task put back", action="task_put_back")

    def _finish(self, task: Task, outcome: Outcome, container_id: str) -> None:
        status = final_status(outcome.failure)
        failure = outcome.failure
        self._events.write()
        stored = self._parts.database.finish_task(
            task.id,
            status,
            result_fields(task, outcome, container_id, self._parts.redactor.redact),
            summary_message(outcome, self._parts.redactor.redact),
            [dataclasses.asdict(c) for c in outcome.changes.file_changes]
            if outcome.changes
            else [],
        )
        log.info(
            "task ended" if stored else "late result dropped",
            action="task_ended",
            status=str(status),
            code=failure.code if failure else None,
        )
        if stored:
            self._measure(status, task, outcome)

    def _measure(self, status: TaskStatus, task: Task, outcome: Outcome) -> None:
        self._parts.metrics.task_ended(str(status), task.agent)
        for timing in outcome.timings:
            self._parts.metrics.stage_finished(str(timing.stage), timing.seconds)


def _job(task: Task, token: str | None) -> Job:
    return Job(
        task_id=task.id,
        prompt=task.prompt,
        repo_url=task.repo_url,
        branch=task.target_branch,
        agent=task.agent,
        git_token=token,
    )


def _nothing(error: TaskError) -> Outcome:
    return Outcome(None, None, None, (), error)
