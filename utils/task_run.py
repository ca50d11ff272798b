"""One task from claim to stored result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio
import stamina
import structlog
from anyio import to_thread

from database import Database
from utils.agents import choose_agent
from utils.agents.base import Agent
from utils.errors import AppError, DatabaseUnavailable, NotFound, TaskError, TaskStopped
from utils.event_log import EventLog
from utils.models import Job, Json, Outcome, Stage, Task, TaskStatus
from utils.pipeline import PipelineLimits, StopRequest, run_pipeline
from utils.redaction import Redactor
from utils.sandbox import Sandbox, SandboxProvider
from utils.telemetry import Metrics
from utils.vault import Vault

CANCELLED = "cancelled"
SHUTDOWN = "shutdown"

STORE_ATTEMPTS = 12
STORE_TIMEOUT_SECONDS = 120

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
        self._events = EventLog(parts.database, parts.redactor, task_id)

    @property
    def stage(self) -> str | None:
        """What it is doing right now."""
        return self._events.stage

    async def execute(self) -> None:
        """Claim the task, run it, store its result, remove its sandbox. Raises nothing."""
        structlog.contextvars.bind_contextvars(task_id=self.task_id)
        try:
            claimed = await to_thread.run_sync(self._claim)
            if claimed:
                task, token = claimed
                with self._parts.redactor.hold(token):
                    await self._run(task, token)
        except Exception:
            # The last resort: a defect of ours must neither end the dispatcher nor be lost.
            log.exception("task run broke", action="task_run_broke")
        finally:
            self.ended.set()

    def _claim(self) -> tuple[Task, str | None] | None:
        task = self._parts.database.move_task(
            self.task_id, {TaskStatus.PENDING}, TaskStatus.RUNNING, stage=Stage.CLONING
        )
        if task is None:
            return None
        try:
            _, ciphertext = self._parts.database.get_job_task(self.task_id)
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
            await to_thread.run_sync(self._store, task, _nothing(error), "")
            return
        try:
            outcome = await self._run_in(sandbox, task, token)
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._store, task, outcome, sandbox.id)
        finally:
            with anyio.CancelScope(shield=True):
                await sandbox.close()

    async def _run_in(self, sandbox: Sandbox, task: Task, token: str | None) -> Outcome:
        agent, job = choose_agent(task.agent), _job(task, token)
        try:
            async with anyio.create_task_group() as background:
                background.start_soon(self._events.follow, sandbox.id)
                outcome = await run_pipeline(
                    sandbox, job, agent, self._parts.limits, self._events.report, self.request
                )
                background.cancel_scope.cancel()
        except Exception:
            log.exception("pipeline broke", action="pipeline_broke")
            return _nothing(
                TaskError(
                    "The server made a mistake while it ran this task. Start the task again; the "
                    "server's log has the details.",
                    "internal_error",
                    stage=self._events.stage,
                )
            )
        return outcome

    def _store(self, task: Task, outcome: Outcome, container_id: str) -> None:
        if self.request.abandoned and outcome.changes is None:
            self._put_back(task)
            return
        for attempt in stamina.retry_context(
            on=DatabaseUnavailable, attempts=STORE_ATTEMPTS, timeout=STORE_TIMEOUT_SECONDS
        ):
            with attempt:
                self._finish(task, outcome, container_id)

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
        status = _status(outcome.failure)
        failure = outcome.failure
        if failure:
            self._events.report("error", {"code": failure.code, "message": failure.message})
        self._events.write()
        stored = self._parts.database.finish_task(
            task.id,
            status,
            _fields(task, outcome, container_id, self._parts.redactor.redact),
            _summary_message(outcome, self._parts.redactor.redact),
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
        user_id=task.user_id,
        attempt=task.attempt,
        prompt=task.prompt,
        repo_url=task.repo_url,
        branch=task.target_branch,
        agent=task.agent,
        git_token=token,
    )


def _nothing(error: TaskError) -> Outcome:
    return Outcome(None, None, None, (), error)


def _status(failure: AppError | None) -> TaskStatus:
    if failure is None:
        return TaskStatus.COMPLETED
    if isinstance(failure, TaskStopped) and failure.code == CANCELLED:
        return TaskStatus.CANCELLED
    return TaskStatus.FAILED


def _fields(task: Task, outcome: Outcome, container_id: str, redact: Callable[[str], str]) -> Json:
    changes, failure = outcome.changes, outcome.failure
    fields: Json = {
        "container_id": container_id or None,
        "execution_metadata": _metadata(task, outcome, choose_agent(task.agent)),
    }
    if changes:
        fields |= {
            "commit_hash": changes.commit_hash,
            "git_diff": changes.diff,
            "git_patch": changes.patch,
            "changed_files": list(changes.changed_files),
        }
    if failure:
        fields |= {
            "error": redact(failure.message),
            "error_code": failure.code,
            "error_stage": failure.stage,
        }
    return fields


def _metadata(task: Task, outcome: Outcome, agent: Agent) -> Json:
    waited = (task.started_at or task.created_at) - task.created_at
    metadata: Json = {
        "simulated": agent.simulated,
        "agent_program": agent.name,
        "agent_exit_code": outcome.agent_exit_code,
        "attempt": task.attempt,
        "stage_seconds": {
            str(Stage.QUEUED): round(waited.total_seconds(), 4),
            **{str(timing.stage): timing.seconds for timing in outcome.timings},
        },
    }
    if changes := outcome.changes:
        metadata |= {
            "base_commit": changes.base_commit,
            "tree_hash": changes.tree_hash,
            "additions": changes.additions,
            "deletions": changes.deletions,
            "files_changed": len(changes.changed_files),
            "notes": list(changes.notes),
        }
    return metadata


def _summary_message(outcome: Outcome, redact: Callable[[str], str]) -> Json | None:
    if not outcome.summary:
        return None
    return {
        "role": "assistant",
        "content": redact(outcome.summary),
        "timestamp": datetime.now(UTC).isoformat(),
    }
