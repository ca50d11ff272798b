"""Defines where a dispatcher gets its tasks from, and what a source asks of the dispatcher."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from database import Database
from utils.models.engine import Worker
from utils.models.runs import AgentRun


@dataclass(frozen=True, slots=True)
class Ready:
    """A task that may start now.

    `database` is the gateway that owns the task. `run` is the run of an earlier process to resume.
    `refusals` counts the sandboxes that were refused for this task before. `rank` is the rank with
    which it has waited.
    """

    user_id: str
    task_id: int
    database: Database
    run: AgentRun | None = None
    refusals: int = 0
    rank: int = 0


@dataclass(frozen=True, slots=True)
class RunEnd:
    """Tells how the run of a task has ended.

    The task `waits_again` when it has no result, or when its next turn waits. It `has_ended` when
    its result is stored. Its run `is_left` when it was given up because another server may have the
    task, and `keeps_result` when the database has not accepted its result yet. `refusals` are all
    refusals of sandboxes until now. `rank` is that with which it waits again.
    """

    waits_again: bool
    has_ended: bool
    is_left: bool
    keeps_result: bool
    refusals: int
    rank: int


class HostState(NamedTuple):
    """Tells what a dispatcher does: most runs at once, runs now, why it starts no more."""

    places: int
    running: int
    reason: str | None


class RunHost(Protocol):
    """The part of a dispatcher that runs tasks. Its methods run on the event loop."""

    def has_run(self, task_id: int) -> bool:
        """Tell whether a task runs here."""

    def state(self) -> HostState:
        """Return what this dispatcher does at the moment."""

    def free_places(self) -> int:
        """Return the number of tasks that may start now."""

    def start(self, ready: Ready) -> None:
        """Start a task at once, whatever the limits say: its agent runs already."""

    def fill(self) -> None:
        """Start tasks from the source as far as the limits allow."""

    def run_again(self, task_id: int, *, at_once: bool = False) -> None:
        """Let a task wait again when its run here has ended; with `at_once`, abandon that run."""

    def cancel_soon(self, task_id: int) -> None:
        """Cancel a task that runs here for its user, without waiting for its end."""

    def interrupt_soon(self, task_id: int, number: int) -> None:
        """Interrupt a turn for its user, if it is the one that the task runs here."""

    def leave_task(self, task_id: int) -> bool:
        """Leave a task that another worker may have now; return False when it has ended here."""

    def leave_tasks(self) -> None:
        """Leave the tasks that another server may have taken over and may go on with."""


class Source(Protocol):
    """Gives a dispatcher its tasks.

    The methods without a note may be called from any thread.
    """

    def __len__(self) -> int:
        """Return the number of waiting tasks."""

    def position(self, task_id: int) -> int | None:
        """Return the place of a waiting task, 1 for the next one; None for another task."""

    def positions(self, user_id: str) -> dict[int, int]:
        """Return the places of all waiting tasks of a user."""

    def oldest_seconds(self) -> float:
        """Return the seconds that the longest waiting task has waited; 0 without one."""

    def waiting_reason(self, own: str | None) -> str | None:
        """Return why tasks wait, None without a reason; `own` is that of this dispatcher."""

    def workers(self) -> list[Worker]:
        """Return the workers of the database; none where servers run their own tasks."""

    def drain_worker(self, name: str, *, is_draining: bool) -> bool:
        """Ask a worker to take no more tasks, or to take them again; tell whether it is known."""

    def places(self, user_id: str, count: int) -> AbstractContextManager[None]:
        """Reserve places while tasks are stored. Raises `QueueFull`."""

    def add(self, user_id: str, task_id: int, rank: int) -> None:
        """Add a task that is stored and waits, with its rank among those of its user."""

    def remove(self, task_id: int) -> object:
        """Remove a task that no longer waits."""

    @property
    def has_ready(self) -> bool:
        """True while `pop` may return a task."""

    def pop(self, may_run: Callable[[str], bool]) -> Ready | None:
        """Return the next task of a user who may run one. On the event loop only."""

    def end(self, ready: Ready, end: RunEnd) -> None:
        """Take note that the run of a task has ended. On the event loop only."""

    @property
    def has_peers(self) -> bool:
        """True when another server may take over the tasks of this one."""

    def join(self) -> None:
        """Announce this server to the others. Raises `DatabaseUnavailable`."""

    def recover(self) -> None:
        """Find the tasks that an earlier process has left. Raises `DatabaseUnavailable`."""

    def begin(self, host: RunHost) -> None:
        """Hand over the tasks that were found. On the event loop only."""

    async def run(self) -> None:
        """Exchange what servers tell each other, until cancelled. Call `begin` first."""
