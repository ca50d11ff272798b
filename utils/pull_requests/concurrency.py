"""Serializes the requests for one task and bounds the time of each request."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from utils.errors import Unavailable
from utils.github.concurrency import too_many_requests

FOR_ONE_TASK = 3
"""Requests for one task that run or wait; more would take the slots of other tasks."""


class KeyedLocks:
    """Holds one lock for each task with a running request."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._locks: dict[int, Lock] = {}
        self._users: Counter[int] = Counter()

    @contextmanager
    def lock(self, task_id: int, deadline: Deadline) -> Iterator[None]:
        """Hold a task's lock during the block.

        Raises `Unavailable` when too many requests wait for it, or the deadline passes.
        """
        with self._guard:
            if self._users[task_id] >= FOR_ONE_TASK:
                raise too_many_requests()
            lock = self._locks.setdefault(task_id, Lock())
            self._users[task_id] += 1
        try:
            if not lock.acquire(timeout=max(deadline.seconds_left, 0)):
                raise unfinished("Another request for this task is still running.")
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
    """The time limit of a request. `step_seconds` is what one step may take."""

    def __init__(self, seconds: float, step_seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds
        self._step_seconds = step_seconds

    @property
    def seconds_left(self) -> float:
        """Seconds until the last step must begin; negative afterwards."""
        return self._ends_at - self._step_seconds - time.monotonic()

    def check(self, done: str) -> None:
        """Raise `Unavailable` (`pull_request_unfinished`) when no time is left for a step."""
        if self.seconds_left <= 0:
            raise unfinished(done)


def unfinished(done: str) -> Unavailable:
    """Return the error for a request that must answer before it is finished."""
    return Unavailable(
        f"{done} Send the same request again to continue.",
        "pull_request_unfinished",
        retry_after_seconds=1,
    )
