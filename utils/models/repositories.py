"""Frozen values of the repositories of a task that works in several.

The task's own row holds the first one, so that clients of one repository see what they know.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_REPOSITORIES = 5
"""Repositories of one task, the first one included."""


@dataclass(frozen=True, slots=True)
class NewRepository:
    """A repository to add to a task; `name` is that of its folder."""

    name: str
    repo_url: str
    target_branch: str


@dataclass(frozen=True, slots=True)
class TaskRepository:
    """A row of `task_repositories`: a repository of a task beside its first one.

    `position` counts from 1. The fields of the result, and those of the pull request, have the
    meaning that they have for a task. Without being asked for, `git_diff` and `git_patch` are not
    loaded; `has_patch` is always set correctly.
    """

    position: int
    name: str
    repo_url: str
    target_branch: str
    base_commit: str | None = None
    tree_hash: str | None = None
    commit_hash: str | None = None
    changed_files: list[str] | None = None
    additions: int | None = None
    deletions: int | None = None
    notes: list[str] | None = None
    secret_files: list[str] | None = None
    has_patch: bool = False
    pr_branch: str | None = None
    pr_number: int | None = None
    pr_url: str | None = None
    pr_commit: str | None = None
    pr_state: str | None = None
    git_diff: str | None = field(default=None, repr=False)
    git_patch: str | None = field(default=None, repr=False)
