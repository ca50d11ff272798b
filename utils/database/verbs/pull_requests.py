"""Declares the operations on the pull requests of tasks; a part of `database.Database`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from utils.models.automatic_pulls import AutomaticPull
from utils.models.tasks import Task


class PullRequestVerbs(Protocol):
    """The operations on the pull requests of tasks."""

    def set_pull_request(self, user_id: str, task_id: int, fields: Mapping[str, Any]) -> Task:
        """Update the pull request columns of a task; return the row as `get_task_status` does.

        `fields`: pr_branch, pr_number, pr_url, pr_state (open, closed, merged), and pr_commit, the
        commit pushed last. Raises `NotFound`.
        """

    def list_pull_request_tasks(self, pr_url: str) -> list[Task]:
        """Return the tasks of all users with this pull request, as `get_task_status` does."""

    def list_branch_tasks(self, pr_branch: str, pr_number: int) -> list[Task]:
        """Return all tasks of any repository with this branch and pull request number."""

    def claim_automatic_pull(self, until: datetime) -> AutomaticPull | None:
        """Give this server the pull request that is due for the longest time; None without one.

        No other server has it until then. The database makes it due when a task completes that asks
        for it. One that an earlier process of this server had is due at once.
        """

    def end_automatic_pull(self, pull: AutomaticPull, again_at: datetime | None = None) -> bool:
        """Forget a pull request that this server has, with its token, or make it due again.

        Returns False and writes nothing when its task has completed once more, or another server
        has it.
        """
