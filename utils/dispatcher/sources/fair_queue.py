"""Holds waiting tasks: bounded, in the order of each user, round-robin between users."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, insort
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from utils.errors import QueueFull

RETRY_AFTER_SECONDS = 10


class Waiting(NamedTuple):
    """The user of a waiting task, and its rank among those of the user; lower ones start first."""

    user_id: str
    rank: int = 0


class Popped(NamedTuple):
    """A task that was taken out of the queue to start."""

    user_id: str
    task_id: int
    rank: int


class _Entry(NamedTuple):
    """A waiting task, and since when it waits here."""

    waiting: Waiting
    since: float


class FairQueue:
    """Task ids by user, in order of their ranks, then of their ids. Safe for several threads."""

    def __init__(self, max_queued: int, max_per_user: int | None = None) -> None:
        self._lock = threading.Lock()
        self._max_queued = max_queued
        self._max_per_user = max_per_user or max_queued
        self._reserved: Counter[str] = Counter()
        self._by_user: OrderedDict[str, list[tuple[int, int]]] = OrderedDict()
        self._queued: dict[int, _Entry] = {}

    def __len__(self) -> int:
        return len(self._queued)

    def __contains__(self, task_id: int) -> bool:
        return task_id in self._queued

    def reserve(self, user_id: str, count: int = 1) -> None:
        """Reserve places for tasks whose rows are about to be created. Raises `QueueFull`.

        A user has a limit, and all users together have one. The latter is doubled for a user
        without waiting tasks, so that a few users cannot lock out all others.
        """
        with self._lock:
            used = len(self._queued) + self._reserved.total()
            own = len(self._by_user.get(user_id, ())) + self._reserved[user_id]
            if used + count > self._max_queued * (1 if own else 2):
                raise _queue_full("The queue is full", used, self._max_queued, "MAX_QUEUED_TASKS")
            if own + count > self._max_per_user:
                raise _queue_full(
                    "You have too many waiting tasks",
                    own,
                    self._max_per_user,
                    "MAX_QUEUED_PER_USER",
                )
            self._reserved[user_id] += count

    def release(self, user_id: str, count: int = 1) -> None:
        """Release reserved places."""
        with self._lock:
            self._reserved[user_id] -= count
            self._reserved = +self._reserved

    @contextmanager
    def reserved(self, user_id: str, count: int) -> Iterator[None]:
        """Reserve places during the block. Raises `QueueFull`."""
        self.reserve(user_id, count)
        try:
            yield
        finally:
            self.release(user_id, count)

    def add(self, user_id: str, task_id: int, rank: int = 0) -> None:
        """Put a task into its user's line unless it is queued; needs no reservation."""
        with self._lock:
            if task_id not in self._queued:
                self._put(task_id, _Entry(Waiting(user_id, rank), time.monotonic()))

    def replace(self, tasks: Mapping[int, Waiting]) -> None:
        """Hold these tasks alone; users take turns in the order in which they are first named.

        Tasks that were held before keep the time since which they wait.
        """
        with self._lock:
            now, before = time.monotonic(), self._queued
            self._by_user = OrderedDict()
            self._queued = {}
            for task_id, waiting in tasks.items():
                known = before.get(task_id)
                self._put(task_id, _Entry(waiting, known.since if known else now))

    def pop(self, may_run: Callable[[str], bool]) -> Popped | None:
        """Remove and return the first task of the next user in turn who may run one."""
        with self._lock:
            for user_id, line in self._by_user.items():
                if may_run(user_id):
                    rank, task_id = line.pop(0)
                    del self._queued[task_id]
                    self._by_user.move_to_end(user_id)
                    self._drop_empty_line(user_id)
                    return Popped(user_id, task_id, rank)
            return None

    def remove(self, task_id: int) -> bool:
        """Remove a task; return False when it is not queued."""
        with self._lock:
            entry = self._queued.pop(task_id, None)
            if entry is None:
                return False
            user_id, rank = entry.waiting
            line = self._by_user[user_id]
            del line[bisect_left(line, (rank, task_id))]
            self._drop_empty_line(user_id)
            return True

    def position(self, task_id: int) -> int | None:
        """Return 1 plus the number of tasks that start earlier; None when it is not queued.

        Assumes that every user may run tasks.
        """
        with self._lock:
            entry = self._queued.get(task_id)
            if entry is None:
                return None
            user_id, rank = entry.waiting
            index = bisect_left(self._by_user[user_id], (rank, task_id))
            return self._position(user_id, index)

    def positions(self, user_id: str) -> dict[int, int]:
        """Return the positions of all queued tasks of a user."""
        with self._lock:
            line = self._by_user.get(user_id, ())
            return {
                task_id: self._position(user_id, index) for index, (_, task_id) in enumerate(line)
            }

    def _position(self, user_id: str, index: int) -> int:
        position, passed = 1, False
        for other, line in self._by_user.items():
            passed = passed or other == user_id
            # Each earlier round starts one task of every user; the task's own round starts one
            # task of every user before its own.
            position += min(len(line), index if passed else index + 1)
        return position

    def oldest_seconds(self) -> float:
        """Return the seconds that the longest waiting task has been queued here; 0 without one."""
        with self._lock:
            now = time.monotonic()
            return now - min((entry.since for entry in self._queued.values()), default=now)

    def _put(self, task_id: int, entry: _Entry) -> None:
        user_id, rank = entry.waiting
        insort(self._by_user.setdefault(user_id, []), (rank, task_id))
        self._queued[task_id] = entry

    def _drop_empty_line(self, user_id: str) -> None:
        if not self._by_user[user_id]:
            del self._by_user[user_id]


def _queue_full(reason: str, waiting: int, limit: int, setting: str) -> QueueFull:
    return QueueFull(
        f"{reason}: {waiting} of at most {limit} tasks are waiting ({setting}). "
        f"Try again in {RETRY_AFTER_SECONDS} seconds.",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )
