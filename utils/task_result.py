"""Turns the outcome of a run into what is stored of it."""

from __future__ import annotations

from datetime import UTC, datetime

from utils.agents import Agents
from utils.agents.base import Agent
from utils.errors import AppError, TaskStopped
from utils.models import Json, Outcome, Stage, Task, TaskStatus
from utils.redaction import Redactor

CANCELLED = "cancelled"
SHUTDOWN = "shutdown"


def final_status(failure: AppError | None) -> TaskStatus:
    """Return the status that a task ends with."""
    if failure is None:
        return TaskStatus.COMPLETED
    if isinstance(failure, TaskStopped) and failure.code == CANCELLED:
        return TaskStatus.CANCELLED
    return TaskStatus.FAILED


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


def _metadata(task: Task, outcome: Outcome, agent: Agent) -> Json:
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
