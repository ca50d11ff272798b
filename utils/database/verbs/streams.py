"""Declares the operations on what streams of events need; a part of `database.Database`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from utils.database.changes import Changes
from utils.models.tasks import Json, TaskMark


class StreamVerbs(Protocol):
    """Operations on changes of tasks and on tickets."""

    changes: Changes
    """Tells which tasks have changed, by this server and by the others."""

    def list_task_marks(
        self, task_ids: Sequence[int], user_ids: Sequence[str], since: datetime
    ) -> list[TaskMark]:
        """Return the marks of the given tasks, and of all tasks of the users changed since then."""

    def get_task_updated_at(self, user_id: str, task_id: int) -> datetime | None:
        """Return the `updated_at` of a task, None when the user has no such task."""

    def get_conversation(self, user_id: str, task_id: int) -> list[Json]:
        """Return all messages of a task, however many. Raises `NotFound`."""

    def add_stream_ticket(self, user_id: str, ticket_hash: str, expires_at: datetime) -> None:
        """Store a ticket; delete the user's expired ones.

        Raises `Unauthenticated` when the user is missing.
        """

    def use_stream_ticket(self, ticket_hash: str, moment: datetime) -> str | None:
        """Delete a ticket and return its user; None when it is unknown, used or expired."""
