"""Declares the operations on the further repositories of tasks; a part of `database.Database`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from utils.models.repositories import TaskRepository
from utils.models.tasks import Task


class RepositoryVerbs(Protocol):
    """The operations on the repositories of a task beside its first one.

    `create_task` inserts them, and `finish_task` stores their results with those of the turn.
    """

    def list_repositories(
        self, user_id: str, task_id: int, *, with_texts: bool = False
    ) -> list[TaskRepository]:
        """Return the further repositories of a task, in their order. Raises `NotFound`.

        Only `with_texts` loads diffs and patches.
        """

    def set_repository_pull_request(
        self, user_id: str, task_id: int, position: int, fields: Mapping[str, Any]
    ) -> Task:
        """Update the pull request columns of a further repository as `set_pull_request` does.

        Raises `NotFound`.
        """

    def set_repository_pull_states(self, pr_url: str, pr_branch: str | None, state: str) -> int:
        """Store the state of a pull request with the further repositories that have it.

        A branch selects those with this one. Returns how many there are.
        """
