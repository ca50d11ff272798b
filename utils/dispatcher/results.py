"""Builds the result of a run and stores it, at once or when the database is back."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import structlog
from anyio import to_thread

from database import Database
from utils.agents.registry import Agents
from utils.agents.spec import AgentSpec
from utils.database.shared import last_event
from utils.dispatcher.event_log import EventLog
from utils.dispatcher.result_outbox import FinishedTask, store_or_shrink
from utils.dispatcher.run_context import RunContext
from utils.errors import AppError, DatabaseUnavailable, TaskStopped
from utils.models.events import EventBatch
from utils.models.runs import Outcome
from utils.models.tasks import Json, Stage, Task, TaskStatus
from utils.pipeline.secret_search import FILES_FIELD, without_secrets
from utils.redaction import Redactor

CANCELLED = "cancelled"
SHUTDOWN = "shutdown"

log = structlog.get_logger(__name__)


class ResultStore:
    """Stores the result of one run. `pending` is a result that the database has not accepted."""

    def __init__(self, context: RunContext, events: EventLog, redactor: Redactor) -> None:
        self.pending: FinishedTask | None = None
        self._context = context
        self._events = events
        self._redactor = redactor
        self._is_stored = False

    async def store(self, task: Task, outcome: Outcome, container_id: str) -> bool:
        """Store the result of a task; return False when another server may need the sandbox.

        When the database is unavailable, the result is saved on disk and becomes `pending`.
        """
        # In a thread, because an agent decides how much there is to redact.
        result = await to_thread.run_sync(self._result, task, outcome, container_id)
        try:
            is_ours = await to_thread.run_sync(self._finish, result)
        except DatabaseUnavailable as error:
            log.warning("result not stored yet", action="result.delayed", reason=error.message)
            self.pending = result
            await to_thread.run_sync(self._context.outbox.save, result)
            # Without other servers, only this one can store the result later, and a sandbox may
            # cost money until it is ended.
            is_ours = not self._context.heartbeats.has_peers
        if is_ours:
            self._record_metrics(result, task, outcome)
        return is_ours

    def store_pending(self) -> None:
        """Store the pending result. Blocks. Raises `DatabaseUnavailable`."""
        if self.pending:
            self._is_stored = store_or_shrink(self._context.database, self.pending)

    async def clean_up(self) -> None:
        """Delete the file of the pending result, and end a sandbox that was left running."""
        if self.pending is None:
            return
        await to_thread.run_sync(self._context.outbox.delete, self.pending.task_id)
        log.info(
            "waiting result stored" if self._is_stored else "late result dropped",
            action="result.settled",
        )
        if self._is_stored and self._context.heartbeats.has_peers:
            await self._context.provider.end(self.pending.container_id)

    def _result(self, task: Task, outcome: Outcome, container_id: str) -> FinishedTask:
        outcome = without_secrets(outcome, self._redactor.redact)
        changes = outcome.changes.file_changes if outcome.changes else ()
        fields = result_fields(task, outcome, container_id, self._context.agents, self._redactor)
        if self._events.branch:
            fields["target_branch"] = self._events.branch
        status = final_status(outcome.failure)
        return FinishedTask(
            task.id,
            status,
            fields,
            closing_message(outcome, self._redactor),
            [dataclasses.asdict(change) for change in changes],
            with_last_event(self._events.pending_batch(), status, fields.get("error_code")),
        )

    def _finish(self, result: FinishedTask) -> bool:
        stored = result.store(self._context.database)
        self._events.mark_stored(result.batch)
        log.info(
            "task ended" if stored else "late result dropped",
            action="task.ended",
            status=str(result.status),
            code=result.error_code,
            reason=result.fields.get("error"),
        )
        return stored is not None

    def _record_metrics(self, result: FinishedTask, task: Task, outcome: Outcome) -> None:
        metrics, details = self._context.metrics, outcome.agent_details
        metrics.task_ended(str(result.status), task.agent, result.error_code)
        metrics.agent_used(task.agent, details.get("usage", {}), details.get("cost_usd"))
        for timing in outcome.timings:
            metrics.stage_finished(str(timing.stage), timing.seconds)


def with_last_event(batch: EventBatch, status: TaskStatus, error_code: str | None) -> EventBatch:
    """Append the event that tells readers of the log that the task has ended."""
    return dataclasses.replace(batch, events=(*batch.events, last_event(status, error_code)))


def requeue_task(database: Database, task: Task) -> None:
    """Return a running task to the queue without counting the attempt.

    Neither a shutdown of the server nor a lack of sandboxes is the task's fault.
    """
    queued = database.move_task(
        task.id,
        {TaskStatus.RUNNING},
        TaskStatus.PENDING,
        attempt=task.attempt - 1,
        stage=None,
        started_at=None,
    )
    if queued:
        log.info("task requeued", action="task.requeued")


def mark_failed(
    database: Database, task_id: int, message: str, stage: str | None, *, code: str
) -> None:
    """Set a running task without an outcome to failed."""
    database.move_task(
        task_id,
        {TaskStatus.RUNNING},
        TaskStatus.FAILED,
        error=message,
        error_code=code,
        error_stage=stage,
    )


def final_status(failure: AppError | None) -> TaskStatus:
    """Return the final status of a task."""
    if failure is None:
        return TaskStatus.COMPLETED
    if isinstance(failure, TaskStopped) and failure.code == CANCELLED:
        return TaskStatus.CANCELLED
    return TaskStatus.FAILED


def result_fields(
    task: Task, outcome: Outcome, container_id: str, agents: Agents, redactor: Redactor
) -> Json:
    """Return the columns to store together with the final status."""
    changes, failure = outcome.changes, outcome.failure
    fields: Json = {
        "container_id": container_id or None,
        "execution_metadata": redactor.redact_values(
            _metadata(task, outcome, agents.choose(task.agent))
        ),
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
            "error": redactor.redact(failure.message),
            "error_code": failure.code,
            "error_stage": failure.stage,
        }
    return fields


def _metadata(task: Task, outcome: Outcome, agent: AgentSpec) -> Json:
    queued_time = (task.started_at or task.created_at) - task.created_at
    metadata: Json = {
        **outcome.agent_details,
        "simulated": agent.simulated,
        "agent_program": agent.name,
        "agent_exit_code": outcome.agent_exit_code,
        "attempt": task.attempt,
        "stage_seconds": {
            str(Stage.QUEUED): round(queued_time.total_seconds(), 4),
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
            "notes": [*outcome.notes, *changes.notes],
        }
        if changes.secret_files:
            metadata[FILES_FIELD] = list(changes.secret_files)
    elif outcome.notes:
        metadata["notes"] = list(outcome.notes)
    if place := (task.execution_metadata or {}).get("asked_in"):
        metadata["asked_in"] = place
    return metadata


def closing_message(outcome: Outcome, redactor: Redactor) -> Json | None:
    """Return the last message of the conversation: the agent's summary, and why it ended early.

    None when there is neither.
    """
    said = "\n\n".join(part for part in (outcome.summary, _early_end(outcome)) if part)
    if not said:
        return None
    return {
        "role": "assistant",
        "content": redactor.redact(said),
        "timestamp": datetime.now(UTC).isoformat(),
    }


def _early_end(outcome: Outcome) -> str:
    failure, changes = outcome.failure, outcome.changes
    if failure is None:
        return ""
    reason = failure.message
    if failure.code != CANCELLED:
        reason = f"The task failed: {reason}"
    count = len(changes.changed_files) if changes else 0
    if not count:
        return f"{reason} It has changed nothing."
    files = "1 file" if count == 1 else f"{count} files"
    return f"{reason} Its changes up to then are stored: {files}."
