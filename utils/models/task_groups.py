"""Frozen values of groups of tasks: attempts at the same prompt that are compared."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from utils.models.tasks import Task


@dataclass(frozen=True, slots=True)
class TaskGroup:
    """A row of `task_groups` with its tasks, oldest first, in the form of `get_task_status`.

    Tasks that were deleted are missing; `chosen_task_id` may be the number of one of them.
    """

    id: int
    user_id: str
    project_id: int | None
    prompt: str
    repo_url: str
    branch: str
    check_command: str | None
    chosen_task_id: int | None
    created_at: datetime
    tasks: tuple[Task, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskGroupSummary:
    """A group in a list, with the beginning of its prompt and with counters of its tasks."""

    id: int
    project_id: int | None
    prompt_preview: str
    prompt_characters: int
    repo_url: str
    branch: str
    chosen_task_id: int | None
    created_at: datetime
    task_count: int
    completed_tasks: int
    active_tasks: int
