"""Declares the operations that remove old tasks; a part of `database.Database`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from utils.models.archive import ArchivedTask, ArchiveFile, TaskRecord
from utils.models.tasks import TaskMark


class ArchiveVerbs(Protocol):
    """Operations on tasks of all users that have ended long ago."""

    def list_old_tasks(self, unchanged_since: datetime, *, limit: int) -> list[TaskMark]:
        """Return the marks of ended tasks that have not changed since then.

        Those that changed longest ago come first.
        """

    def get_task_records(self, task_ids: Sequence[int], *, max_bytes: int) -> list[TaskRecord]:
        """Return everything that is stored of the tasks, with all rows that belong to them.

        Ends behind the record with which the texts exceed `max_bytes`. Tasks that are gone are left
        out.
        """

    def delete_old_tasks(
        self, marks: Sequence[TaskMark], archived: ArchiveFile | None = None
    ) -> list[TaskMark]:
        """Delete ended tasks that still have these marks; return the marks of those.

        Tasks that another writer uses at the same time stay. With `archived` the database keeps
        for each of them that it is in this file.
        """

    def find_archived_tasks(self, task_id: int) -> list[ArchivedTask]:
        """Return what is known of the archived task with this number: one, or none."""
