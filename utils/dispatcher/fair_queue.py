"""The queue of tasks: bounded, first come first served for each user, round-robin between users."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable

from utils.errors import QueueFull

RETRY_AFTER_SECONDS = 10


class FairQueue:
    """Task ids by user. Safe to use from several threads."""

    def __init__(self, max_queued: int) -> None:
        self._lock = threading.Lock()
        self._max_queued = max_queued
        self._reserved: Counter[str] = Counter()
        self._by_user: OrderedDict[str, deque[int]] = OrderedDict()
        self._users: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._users)

    def __contains__(self, task_id: int) -> bool:
        return task_id in self._users

    def reserve(self, user_id: str) -> None:
        """Keep a place for a task whose row is about to be made. Raises `QueueFull`.

        A user of whom nothing waits gets a place beyond the limit, so that one user cannot keep
        all others out.
        """
        with self._lock:
            taken = len(self._users) + self._reserved.total()
            is_first = user_id not in self._by_user and not self._reserved[user_id]
            if taken >= self._max_queued * (2 if is_first else 1):
                raise QueueFull(
                    f"{self._max_queued} tasks are waiting already (MAX_QUEUED_TASKS). "
                    f"Try again in {RETRY_AFTER_SECONDS} seconds.",
                    retry_after_seconds=RETRY_AFTER_SECONDS,
                )
            self._reserved[user_id] += 1

    def give_back(self, user_id: str) -> None:
        """Give a reserved place back."""
        with self._lock:
            self._reserved[user_id] -= 1
            self._reserved = +self._reserved

    def add(self, user_id: str, task_id: int) -> None:
        """Append a task to its user's line, once; recovery adds without a reservation."""
        with self._lock:
            if task_id in self._users:
                return
            self._by_user.setdefault(user_id, deque()).append(task_id)
            self._users[task_id] = user_id

    def put_back(self, user_id: str, task_id: int) -> None:
        """Add a task that was taken and could not start: it keeps its place among its user's."""
        with self._lock:
            if task_id in self._users:
                return
            line = self._by_user.get(user_id, deque())
            self._by_user[user_id] = deque(sorted((*line, task_id)))
            self._users[task_id] = user_id

    def take(self, may_run: Callable[[str], bool]) -> tuple[str, int] | None:
        """Remove and return (user id, task id) of the next user in turn who may run a task."""
        with self._lock:
            for user_id, line in self._by_user.items():
                if may_run(user_id):
                    task_id = line.popleft()
                    del self._users[task_id]
                    self._by_user.move_to_end(user_id)
                    self._forget_if_empty(user_id)
                    return user_id, task_id
            return None

    def remove(self, task_id: int) -> bool:
        """Take a task out of the queue; False when it is not in it."""
        with self._lock:
            user_id = self._users.pop(task_id, None)
            if user_id is None:
                return False
            self._by_user[user_id].remove(task_id)
            self._forget_if_empty(user_id)
            return True

    def position(self, task_id: int) -> int | None:
        """Return how many tasks start before this one, plus 1, as far as turns decide."""
        with self._lock:
            user_id = self._users.get(task_id)
            if user_id is None:
                return None
            index = self._by_user[user_id].index(task_id)
            position, passed = 1, False
            for other, line in self._by_user.items():
                passed = passed or other == user_id
                # Each earlier round serves every user once; in its own round, those ahead in turn.
                position += min(len(line), index if passed else index + 1)
            return position

    def _forget_if_empty(self, user_id: str) -> None:
        if not self._by_user[user_id]:
            del self._by_user[user_id]
