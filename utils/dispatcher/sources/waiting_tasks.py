"""Knows the tasks that wait in the database, whichever server has stored them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from database import Database
from utils.config.settings import Settings
from utils.dispatcher.sources.fair_queue import FairQueue, Waiting
from utils.errors import AppError, QueueFull
from utils.models.tasks import QueuedTask

READ_SECONDS = 1.0
"""Age after which the rows are read again when somebody asks."""

PAGE_TASKS = 500
"""The tasks that the database returns at most in one answer."""

log = structlog.get_logger(__name__)


class WaitingTasks:
    """Answers from rows that are at most `READ_SECONDS` old; blocks while it reads them.

    The changes of this server count at once. While the database is unavailable the last rows count.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._queue = FairQueue(settings.max_queued_tasks, settings.queued_per_user)
        self._lock = threading.Lock()
        self._read_at = -READ_SECONDS
        self._changed: dict[int, Waiting | None] = {}

    def __len__(self) -> int:
        return len(self._fresh())

    def position(self, task_id: int) -> int | None:
        """Return the place of a task in the queue, None when it does not wait."""
        return self._fresh().position(task_id)

    def positions(self, user_id: str) -> dict[int, int]:
        """Return the places of all waiting tasks of a user."""
        return self._fresh().positions(user_id)

    def oldest_seconds(self) -> float:
        """Return the seconds for which this server has known of the longest waiting task."""
        return self._fresh().oldest_seconds()

    @contextmanager
    def places(self, user_id: str, count: int) -> Iterator[None]:
        """Reserve places during the block. Raises `QueueFull`."""
        queue = self._fresh()
        try:
            queue.reserve(user_id, count)
        except QueueFull:
            # Tasks may have started since the rows were read.
            self._read()
            queue.reserve(user_id, count)
        try:
            yield
        finally:
            queue.release(user_id, count)

    def add(self, user_id: str, task_id: int, rank: int) -> None:
        """Add a task that this server has stored."""
        self._changed[task_id] = Waiting(user_id, rank)
        self._queue.add(user_id, task_id, rank)

    def remove(self, task_id: int) -> bool:
        """Remove a task that no longer waits."""
        self._changed[task_id] = None
        return self._queue.remove(task_id)

    def _fresh(self) -> FairQueue:
        if time.monotonic() - self._read_at >= READ_SECONDS:
            self._read()
        return self._queue

    def _read(self) -> None:
        with self._lock:
            self._changed = {}
            try:
                found = self._list()
            except AppError as error:
                log.warning("queue not read", action="queue.stale", reason=error.message)
            else:
                # What has changed while the rows were read may be missing in them.
                rows = {task.id: Waiting(task.user_id, task.queue_rank) for task in found}
                known = {**rows, **self._changed}
                self._queue.replace({one: what for one, what in known.items() if what is not None})
            self._read_at = time.monotonic()

    def _list(self) -> list[QueuedTask]:
        found: list[QueuedTask] = []
        while page := self._database.list_waiting_tasks(after=found[-1].id if found else 0):
            found += page
            if len(page) < PAGE_TASKS:
                break
        return found
