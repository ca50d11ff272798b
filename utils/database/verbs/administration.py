"""Declares the operations on the rows of all users, for administrators.

They are a part of `database.Database`, whose rules hold for them.
"""

from __future__ import annotations

from typing import Protocol

from utils.models.sandboxes import StoredSandbox
from utils.models.tasks import ActiveTask, QueuedTask


class AdministrationVerbs(Protocol):
    """The operations of administrators. Their caller checks who asks."""

    def list_active_tasks(self, *, limit: int, cursor: int | None = None) -> list[ActiveTask]:
        """Return queued and running tasks of all users with ids below `cursor`, newest first."""

    def list_waiting_tasks(self, *, after: int = 0, limit: int = 500) -> list[QueuedTask]:
        """Return queued tasks of all users with ids above `after`, oldest first."""

    def get_task_owner(self, task_id: int) -> str:
        """Return the id of the user whose task this is. Raises `NotFound`."""

    def list_live_sandbox_page(
        self, *, limit: int, cursor: int | None = None
    ) -> list[StoredSandbox]:
        """Return sandboxes of all users that have not ended, ids below `cursor`, newest first."""

    def get_sandbox_owner(self, sandbox_id: int) -> str:
        """Return the id of the user whose sandbox this is, ended or not. Raises `NotFound`."""
