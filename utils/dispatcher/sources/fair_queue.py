"""Holds waiting tasks: bounded, in order for each user, round-robin between users."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from utils.errors import QueueFull

RETRY_AFTER_SECONDS = 10


class _Entry(NamedTuple):
    """The user of a waiting task, and since when it waits here."""

    user_id: str
    since: float


class FairQueue:
    """Task ids by user. Safe to use from several threads."""

    def __init__(self, max_queued: int, max_per_user: int | None = None) -> None:
        self._lock = threading.Lock()
        self._max_queued = max_queued
        self._max_per_user = max_per_user or max_queued
        self._reserved: Counter[str] = Counter()
        self._by_user: OrderedDict[str, deque[int]] = OrderedDict()
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

    def add(self, user_id: str, task_id: int) -> None:
        """Append a task to its user's line unless it is queued; needs no reservation."""
        with self._lock:
            if task_id in self._queued:
                return
            self._by_user.setdefault(user_id, deque()).append(task_id)
            self._queued[task_id] = _Entry(user_id, time.monotonic())

    def requeue(self, user_id: str, task_id: int) -> None:
        """Return a popped task to its former place in its user's line."""
        with self._lock:
            if task_id in self._queued:
                return
            line = self._by_user.get(user_id, deque())
            self._by_user[user_id] = deque(sorted((*line, task_id)))
            self._queued[task_id] = _Entry(user_id, time.monotonic())

    def replace(self, waiting: Mapping[int, str]) -> None:
        """Hold these tasks alone, given with their users in the order in which they wait.

        Tasks that were held before keep the time since which they wait.
        """
        with self._lock:
            since, before = time.monotonic(), self._queued
            self._by_user = OrderedDict()
            self._queued = {}
            for task_id, user_id in waiting.items():
                self._by_user.setdefault(user_id, deque()).append(task_id)
                self._queued[task_id] = before.get(task_id) or _Entry(user_id, since)

    def pop(self, may_run: Callable[[str], bool]) -> tuple[str, int] | None:
        """Remove and return (user id, task id) of the next user in turn who may run a task."""
        with self._lock:
            for user_id, line in self._by_user.items():
                if may_run(user_id):
                    task_id = line.popleft()
                    del self._queued[task_id]
                    self._by_user.move_to_end(user_id)
                    self._drop_empty_line(user_id)
                    return user_id, task_id
            return None

    def remove(self, task_id: int) -> bool:
        """Remove a task; return False when it is not queued."""
        with self._lock:
            entry = self._queued.pop(task_id, None)
            if entry is None:
                return False
            self._by_user[entry.user_id].remove(task_id)
            self._drop_empty_line(entry.user_id)
            return True

    def position(self, task_id: int) -> int | None:
        """Return 1 plus the number of tasks that start earlier; None when it is not queued.

        Assumes that every user may run tasks.
        """
        with self._lock:
            entry = self._queued.get(task_id)
            if entry is None:
                return None
            index = self._by_user[entry.user_id].index(task_id)
            return self._position(entry.user_id, index)

    def positions(self, user_id: str) -> dict[int, int]:
        """Return the positions of all queued tasks of a user."""
        with self._lock:
            line = self._by_user.get(user_id, ())
            return {task_id: self._position(user_id, index) for index, task_id in enumerate(line)}

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

    def _drop_empty_line(self, user_id: str) -> None:
        if not self._by_user[user_id]:
            del self._by_user[user_id]


def _queue_full(reason: str, waiting: int, limit: int, setting: str) -> QueueFull:
    return QueueFull(
        f"{reason}: {waiting} of at most {limit} tasks are waiting ({setting}). "
        f"Try again in {RETRY_AFTER_SECONDS} seconds.",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )
