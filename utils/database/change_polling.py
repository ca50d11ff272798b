"""Looks up changes of tasks that other servers of a database have made.

For databases that do not tell of changes: Supabase's REST interface, and PostgreSQL behind a pooler
that gives each transaction another session.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from threading import Event, Lock, Thread

import structlog

from utils.database.changes import Change, Changes
from utils.errors import AppError
from utils.models.tasks import TaskMark

POLL_SECONDS = 1.0
POLLED_PERIOD = timedelta(seconds=60)
"""Time for which a change is found; longer than the clocks of servers differ."""

log = structlog.get_logger(__name__)

ListMarks = Callable[[Sequence[int], Sequence[str], datetime], list[TaskMark]]


class BackgroundThread:
    """Starts a background thread when it is first needed."""

    def __init__(self, name: str, run: Callable[[], None]) -> None:
        self._name = name
        self._run = run
        self._lock = Lock()
        self._thread: Thread | None = None

    def ensure(self) -> None:
        """Start the thread unless it was started."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                self._thread = Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def join(self) -> None:
        """Wait for the end of the thread, if it was started."""
        if self._thread is not None:
            self._thread.join()


class PollSource:
    """Looks once a second for changes of the tasks that somebody listens to."""

    def __init__(self, changes: Changes, list_marks: ListMarks) -> None:
        self._changes = changes
        self._list_marks = list_marks
        self._seen: dict[int, TaskMark] = {}
        self._stopped = Event()
        self._thread = BackgroundThread("task changes", self._run)

    def listen(self) -> None:
        """See `ChangeSource`."""
        self._thread.ensure()

    def send(self, change: Change) -> None:
        """See `ChangeSource`; the other servers look for changes by themselves."""

    def close(self) -> None:
        """See `ChangeSource`."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(POLL_SECONDS):
            task_ids, user_ids = self._changes.watched()
            if not task_ids and not user_ids:
                self._seen.clear()
                continue
            try:
                marks = self._list_marks(task_ids, user_ids, datetime.now(UTC) - POLLED_PERIOD)
            except AppError as error:
                log.debug("changes not read", action="changes.unread", reason=error.message)
                continue
            self._compare(task_ids, marks)

    def _compare(self, task_ids: Sequence[int], marks: Sequence[TaskMark]) -> None:
        present = {mark.id: mark for mark in marks}
        for mark in marks:
            seen = self._seen.get(mark.id)
            if seen != mark:
                only_events = seen is not None and seen.updated_at == mark.updated_at
                self._changes.announce_here(Change(mark.id, mark.user_id, only_events))
        for task_id in set(task_ids) & self._seen.keys() - present.keys():
            self._changes.announce_here(Change(task_id))
        self._seen = present
