"""Turns the outcome of a run into what is stored of it."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog

from database import Database
from utils.agents.registry import Agents
from utils.agents.spec import AgentSpec
from utils.errors import AppError, Conflict, TaskStopped
from utils.models.runs import Outcome
from utils.models.tasks import TERMINAL_STATUSES, Json, Stage, Task, TaskStatus
from utils.redaction import Redactor

CANCELLED = "cancelled"
SHUTDOWN = "shutdown"

log = structlog.get_logger(__name__)


def final_status(failure: AppError | None) -> TaskStatus:
    """Return the status that a task ends with."""
    if failure is None:
        return TaskStatus.COMPLETED
    if isinstance(failure, TaskStopped) and failure.code == CANCELLED:
        return TaskStatus.CANCELLED
    return TaskStatus.FAILED


def not_cancelled(task: Task) -> Conflict:
    """Return why a task was not cancelled, from its row after the attempt."""
    if task.status in TERMINAL_STATUSES:
        return Conflict(f"The task has ended already: it is {task.status}.", "task_already_ended")
    return Conflict(
        "The task cannot be cancelled now: this server is stopping, or does not run the task. "
        "Cancel it again when the server has been restarted.",
        "task_not_here",
    )


def put_back(database: Database, task: Task) -> None:
    """Have a running task wait again, as if it had not been started.

    Neither a shutdown nor a full cloud is the task's fault: the attempt does not count.
    """
    waiting = database.move_task(
        task.id,
        {TaskStatus.RUNNING},
        TaskStatus.PENDING,
        attempt=task.attempt - 1,
        stage=None,
        started_at=None,
    )
    if waiting:
        log.info("task requeued", action="task.requeued")


def mark_failed(
    database: Database, task_id: int, message: str, stage: str | None, *, code: str
) -> None:
    """Have a running task fail that has no outcome."""
    database.move_task(
        task_id,
        {TaskStatus.RUNNING},
        TaskStatus.FAILED,
        error=message,
        error_code=code,
        error_stage=stage,
    )


def result_fields(
    task: Task, outcome: Outcome, container_id: str, agents: Agents, redactor: Redactor
) -> Json:
    """Return the columns to store with the status."""
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
    waited = (task.started_at or task.created_at) - task.created_at
    metadata: Json = {
        **outcome.agent_details,
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


def summary_message(outcome: Outcome, redactor: Redactor) -> Json | None:
    """Return what the agent says it did, as the last message of the conversation."""
    if not outcome.summary:
        return None
    return {
        "role": "assistant",
        "content": redactor.redact(outcome.summary),
        "timestamp": datetime.now(UTC).isoformat(),
    }
