"""Response schemas of tasks over several repositories."""

from __future__ import annotations

from dataclasses import asdict
from typing import NotRequired, cast

from typing_extensions import TypedDict

from utils.models.repositories import TaskRepository


class RepositoryRow(TypedDict):
    """A repository of a task over several. Fields without a value are omitted, never null."""

    name: str
    repo_url: str
    branch: str
    has_patch: bool
    base_commit: NotRequired[str]
    tree_hash: NotRequired[str]
    commit_hash: NotRequired[str]
    changed_files: NotRequired[list[str]]
    additions: NotRequired[int]
    deletions: NotRequired[int]
    notes: NotRequired[list[str]]
    pr_branch: NotRequired[str]
    pr_number: NotRequired[int]
    pr_url: NotRequired[str]
    pr_state: NotRequired[str]


class FullRepositoryRow(RepositoryRow):
    """A repository of a task over several, with its diff and its patch."""

    git_diff: NotRequired[str]
    git_patch: NotRequired[str]


def repository_row(repository: TaskRepository) -> RepositoryRow:
    """Return the row of a repository without its diff and patch."""
    return cast("RepositoryRow", _columns(repository, RepositoryRow))


def full_repository_row(repository: TaskRepository) -> FullRepositoryRow:
    """Return the row of a repository."""
    return cast("FullRepositoryRow", _columns(repository, FullRepositoryRow))


def _columns(repository: TaskRepository, row: type) -> dict[str, object]:
    values = {**asdict(repository), "branch": repository.target_branch}
    return {name: values[name] for name in row.__annotations__ if values[name] is not None}
