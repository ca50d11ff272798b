"""Converts stored values into the rows of responses (see `utils/api/responses.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from utils.api.responses import (
    EventRow,
    FullTaskRow,
    ProjectRow,
    TaskChangeRow,
    TaskRow,
    TaskStatusRow,
    TaskSummaryRow,
    TestUserRow,
    TurnRow,
)
from utils.api.schemas.repositories import full_repository_row, repository_row
from utils.models.events import Event
from utils.models.repositories import TaskRepository
from utils.models.tasks import TERMINAL_STATUSES, Task, TaskSummary
from utils.models.turns import Turn
from utils.models.users import Project, User

_TITLE_CHARACTERS = 50
_PREVIEW_CHARACTERS = 200
_NEWER = frozenset({"group_id", "cost_usd"})


def task_row(task: Task) -> TaskRow:
    """Return the row of a task, without its diff and patch."""
    row = _columns(
        task, TaskRow, status=task.status.value, model=task.agent, branch=task.target_branch
    )
    return cast("TaskRow", _without_missing(row))


def full_task_row(task: Task, repositories: Sequence[TaskRepository] = ()) -> FullTaskRow:
    """Return the row of a task, with its diff and patch, and its repositories if it has several."""
    texts = {"git_diff": task.git_diff, "git_patch": task.git_patch}
    row = cast("FullTaskRow", {**task_row(task), **texts})
    if repositories:
        row["repositories"] = [full_repository_row(one) for one in repositories]
    return row


def task_status_row(
    task: Task,
    queue_position: int | None = None,
    stage: str | None = None,
    waiting_reason: str | None = None,
    repositories: Sequence[TaskRepository] = (),
) -> TaskStatusRow:
    """Return the row that pages poll, and merge into the row they have.

    Fields without a value and a long conversation are omitted, the metadata until it is complete.
    """
    ended = task.status in TERMINAL_STATUSES
    row = {
        "id": task.id,
        "status": task.status.value,
        "prompt": task.prompt,
        "repo_url": task.repo_url,
        "branch": task.target_branch,
        **dict.fromkeys(("model", "agent"), task.agent),
        "project_id": task.project_id,
        "group_id": task.group_id,
        "chat_messages": None if task.conversation_cut else task.chat_messages,
        "has_patch": task.has_patch,
        "stage": None if ended else stage or task.stage,
        "queue_position": queue_position,
        "waiting_reason": waiting_reason,
        "commit_hash": task.commit_hash,
        "changed_files": task.changed_files,
        "error": task.error,
        "error_code": task.error_code,
        "error_stage": task.error_stage,
        "auto_pr": task.auto_pr or None,
        "created_at": task.created_at,
        "updated_at": task.updated_at,
        "started_at": task.started_at,
        "completed_at": task.completed_at,
        "execution_metadata": task.execution_metadata if ended else None,
        "repositories": [repository_row(one) for one in repositories] or None,
    }
    return cast("TaskStatusRow", {key: value for key, value in row.items() if value is not None})


def task_summary_row(task: TaskSummary) -> TaskSummaryRow:
    """Return the row of a task in a list."""
    row = {
        "id": task.id,
        "status": task.status.value,
        "created_at": task.created_at,
        "updated_at": task.updated_at,
        "completed_at": task.completed_at,
        "prompt": _cut(task.prompt_preview, task.prompt_characters, _TITLE_CHARACTERS),
        "has_patch": task.has_patch,
        "project_id": task.project_id,
        "repo_url": task.repo_url,
        "branch": task.target_branch,
        "agent": task.agent,
        "model": task.agent,
        "commit_hash": task.commit_hash,
        "error": task.error,
        "pr_number": task.pr_number,
        "pr_url": task.pr_url,
        "group_id": task.group_id,
        "cost_usd": task.cost_usd,
        "chat_messages": [
            {
                "role": "user",
                "content": _cut(task.prompt_preview, task.prompt_characters, _PREVIEW_CHARACTERS),
                "timestamp": task.created_at.isoformat(),
            }
        ],
    }
    return cast("TaskSummaryRow", _without_missing(row))


def task_change_row(task: Task | TaskSummary, stage: str | None = None) -> TaskChangeRow:
    """Return the row of a task in the stream of changes."""
    row = {
        "id": task.id,
        "status": task.status.value,
        "stage": None if task.status in TERMINAL_STATUSES else stage,
        "project_id": task.project_id,
        "agent": task.agent,
        "repo_url": task.repo_url,
        "has_patch": task.has_patch,
        "error": task.error,
        "pr_number": task.pr_number,
        "pr_url": task.pr_url,
        "created_at": task.created_at,
        "updated_at": task.updated_at,
        "completed_at": task.completed_at,
    }
    return cast("TaskChangeRow", {key: value for key, value in row.items() if value is not None})


def event_row(event: Event) -> EventRow:
    """Return the row of an event."""
    return cast("EventRow", _columns(event, EventRow))


def turn_row(turn: Turn) -> TurnRow:
    """Return the row of a turn, without fields that have no value."""
    row = _columns(turn, TurnRow, mode=turn.mode.value, status=turn.status.value)
    return cast("TurnRow", {key: value for key, value in row.items() if value is not None})


def project_row(project: Project) -> ProjectRow:
    """Return the row of a project."""
    return cast("ProjectRow", _columns(project, ProjectRow))


def test_user_row(user: User) -> TestUserRow:
    """Return the row of a test user."""
    return cast("TestUserRow", _columns(user, TestUserRow))


def _without_missing(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without those newer fields that have no value: older clients expect no null."""
    return {name: row[name] for name in row if name not in _NEWER or row[name] is not None}


def _columns(value: object, row: type, **given: Any) -> dict[str, Any]:
    """Return a row whose keys come from its type: `given`, else the attribute of that name."""
    return {
        name: given[name] if name in given else getattr(value, name) for name in row.__annotations__
    }


def _cut(preview: str, characters: int, limit: int) -> str:
    return preview[:limit] + "..." if characters > limit else preview
