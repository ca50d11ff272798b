"""How many requests may talk to GitHub at once, and which of them wait for each other."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock

from utils.errors import Unavailable
from utils.github.refusal import busy

FOR_ONE_TASK = 3
"""Requests for one task that are worked on or wait; more would keep those for others out."""


class ConcurrencyLimiter:
    """A few places, so that slow requests to GitHub leave threads for all others."""

    def __init__(self, places: int) -> None:
        self._free = BoundedSemaphore(places)

    @contextmanager
    def taken(self, wait_seconds: float = 0) -> Iterator[None]:
        """Have a place for the length of the block. Raises `Unavailable` (`github_busy`)."""
        if not self._free.acquire(timeout=wait_seconds):
            raise _busy()
        try:
            yield
        finally:
            self._free.release()


class KeyedLocks:
    """One lock for each task that is worked on."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._locks: dict[int, Lock] = {}
        self._users: Counter[int] = Counter()

    @contextmanager
    def held(self, task_id: int, budget: Deadline) -> Iterator[None]:
        """Be the only one for a task. Raises `Unavailable` when too many wait, or too long."""
        with self._guard:
            if self._users[task_id] >= FOR_ONE_TASK:
                raise _busy()
            lock = self._locks.setdefault(task_id, Lock())
            self._users[task_id] += 1
        try:
            if not lock.acquire(timeout=max(budget.left, 0)):
                raise unfinished("Another request for this task is still being worked on.")
            try:
                yield
            finally:
                lock.release()
        finally:
            with self._guard:
                self._users[task_id] -= 1
                if not self._users[task_id]:
                    del self._users[task_id], self._locks[task_id]


class Deadline:
    """The time that a request has, in seconds."""

    def __init__(self, seconds: float, step_seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds
        self._step_seconds = step_seconds

    @property
    def left(self) -> float:
        """Seconds until the last step has to begin; negative afterwards."""
        return self._ends_at - self._step_seconds - time.monotonic()

    def check(self, done: str) -> None:
        """Raise `Unavailable` (`pull_request_unfinished`) when the next step might not fit in."""
        if self.left <= 0:
            raise unfinished(done)


def _busy() -> Unavailable:
    return busy("This server has as many requests to GitHub under way as it can")


def unfinished(done: str) -> Unavailable:
    """Return the error for a request that has to answer before it is done."""
    return Unavailable(
        f"{done} Send the same request again: it goes on from there.",
        "pull_request_unfinished",
        retry_after_seconds=1,
    )
