"""Declares the operations on groups of tasks; a part of `database.Database`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from utils.models.task_groups import TaskGroup, TaskGroupSummary
from utils.models.tasks import NewTask, Task


class GroupVerbs(Protocol):
    """The operations on groups. A group is deleted with its last task."""

    def create_task_group(self, user_id: str, new: Sequence[NewTask]) -> list[Task]:
        """Insert a group and its tasks, all or none; return the tasks in the given order.

        Prompt, repository, branch, project, check command, token and request key are those of the
        first task. Raises what `create_task` raises.
        """

    def get_task_group(self, user_id: str, group_id: int) -> TaskGroup:
        """Return a group with its tasks. Raises `NotFound`."""

    def list_task_groups(
        self, user_id: str, *, limit: int = 100, cursor: int | None = None
    ) -> list[TaskGroupSummary]:
        """Return a page of groups with ids below `cursor`, newest first."""

    def choose_task(self, user_id: str, group_id: int, task_id: int) -> None:
        """Choose a task of a group, in place of an earlier choice. Raises `NotFound`."""
