"""Shows each repository of a task as if the task had no other one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from database import Database
from utils.database.shared import NO_REPOSITORY
from utils.errors import NotFound
from utils.git.folder_names import folder_name
from utils.models.repositories import TaskRepository
from utils.models.tasks import Json, Task
from utils.pipeline.capture.secret_search import FILES_FIELD

_SAME = (
    *("repo_url", "target_branch", "commit_hash", "git_diff", "git_patch", "has_patch"),
    *("changed_files", "pr_branch", "pr_number", "pr_url", "pr_commit", "pr_state"),
)
"""The columns that tasks and their further repositories have with the same meaning."""

_RESULT = ("base_commit", "tree_hash", "additions", "deletions", "notes", FILES_FIELD)
"""The columns of further repositories that tasks have in their metadata."""


@dataclass(frozen=True, slots=True)
class Target:
    """A repository to open a pull request in: the task as if it had no other repository.

    `name` is empty for a task over one repository. `position` is 0 for the first one.
    """

    task: Task
    name: str = ""
    position: int = 0

    @property
    def has_changes(self) -> bool:
        """True when there is something to open a pull request with."""
        return bool(self.task.changed_files or self.task.git_patch)


def first_repository(task: Task) -> TaskRepository:
    """Return the first repository of a task, whose columns are those of the task itself."""
    metadata = task.execution_metadata or {}
    return TaskRepository(
        position=0,
        name=folder_name(task.repo_url),
        **{name: getattr(task, name) for name in _SAME},
        **{name: _typed(metadata, name) for name in _RESULT},
    )


def targets_of(database: Database, task: Task) -> list[Target]:
    """Return all repositories of a task."""
    if not task.has_further_repositories:
        return [Target(task)]
    further = database.list_repositories(task.user_id, task.id, with_texts=True)
    return [
        Target(task, folder_name(task.repo_url)),
        *(Target(_as_task(task, one), one.name, one.position) for one in further),
    ]


def selected(targets: Sequence[Target], wanted: str | None) -> list[Target]:
    """Return the repositories with changes, or the one with the wanted name.

    Without any changes it is the first one, which tells the reason. Raises `NotFound`.
    """
    if wanted is None:
        return [one for one in targets if one.has_changes] or [targets[0]]
    named = [one for one in targets if wanted == (one.name or folder_name(one.task.repo_url))]
    if not named:
        raise NotFound(NO_REPOSITORY)
    return named


def _as_task(task: Task, one: TaskRepository) -> Task:
    metadata = {
        **(task.execution_metadata or {}),
        **{name: getattr(one, name) for name in _RESULT},
    }
    same = {name: getattr(one, name) for name in _SAME}
    return replace(task, execution_metadata=metadata, **same)


def _typed(metadata: Json, name: str) -> Any:
    # Rows of older backends may have any value here.
    kinds = {"base_commit": str, "tree_hash": str, "notes": list, FILES_FIELD: list}
    value = metadata.get(name)
    return value if isinstance(value, kinds.get(name, int)) else None
