"""Declares the operations on the turns of tasks and on their kept workspaces.

They are a part of `database.Database`, whose rules hold for them.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol

from utils.models.tasks import Task
from utils.models.turns import NewTurn, Turn


class AddedTurn(NamedTuple):
    """A new turn with its task, which now waits if it had ended: then `begins` is True."""

    task: Task
    turn: Turn
    begins: bool


class Workspace(NamedTuple):
    """A sandbox that is kept for the next turn of a task."""

    task_id: int
    sandbox_id: str
    until: datetime


class TurnVerbs(Protocol):
    """Declares the operations."""

    def add_turn(self, user_id: str, task_id: int, new: NewTurn) -> AddedTurn:
        """Append a message of the user as a turn that waits; a task that had ended is pending.

        The task then belongs to this server. A turn that interrupts the running one has its number
        as `interrupts`, which the server that runs it reads in its heartbeats and when it claims
        the task. Raises `NotFound`, and `Conflict` (`conversation_full`).
        """

    def take_back_turn(self, user_id: str, task_id: int, number: int) -> Task:
        """Delete a turn that waits, with its message; return the row as `get_task_status` does.

        A task that waited for this turn alone is again as the turn before has left it. Raises
        `NotFound`, and `Conflict` (`turn_started`).
        """

    def list_turns(self, user_id: str, task_id: int) -> list[Turn]:
        """Return the turns of a task, oldest first. Raises `NotFound`."""

    def get_turn_diff(self, user_id: str, task_id: int, number: int) -> str:
        """Return the diff of a turn's own changes, empty without changes. Raises `NotFound`."""

    def keep_workspace(self, task_id: int, sandbox_id: str, until: datetime | None) -> bool:
        """Store that the sandbox of a task is kept until then, or with None no longer.

        Returns False and writes nothing when the task has another sandbox or is running.
        """

    def list_workspaces(self) -> list[Workspace]:
        """Return all kept workspaces, the one that is kept longest first."""
