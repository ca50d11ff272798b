"""Cancels tasks for their users: queued ones, and running ones on this or another server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from database import Database
from utils.dispatcher.results import CANCELLED
from utils.errors import AppError, Conflict, NotFound
from utils.models.tasks import ACTIVE_STATUSES, TERMINAL_STATUSES, Task, TaskStatus

CANCEL_SECONDS = 15.0
"""Longest time that a cancel waits for the end of a running task."""

CANCELLED_BEFORE = "The task was cancelled before it started."

POLL_SECONDS = 0.5
"""Pause between two reads of the status of a task that another server is cancelling."""


class Canceller:
    """Cancels tasks. For all threads except that of the event loop.

    `remove_queued` removes a task from the queue. `cancel_local` cancels a task that runs on this
    server and returns False for any other task.
    """

    def __init__(
        self,
        database: Database,
        remove_queued: Callable[[int], object],
        cancel_local: Callable[[int], bool],
    ) -> None:
        self._database = database
        self._remove_queued = remove_queued
        self._cancel_local = cancel_local
        # A SQLite file is in the data folder, which is locked by one server.
        self._is_shared = database.is_shared

    def cancel(self, user_id: str, task_id: int) -> Task:
        """Cancel a task; see `Dispatcher.cancel_task`."""
        task = self._database.get_task_status(user_id, task_id)
        cancelled = self._database.move_task(
            task_id,
            {TaskStatus.PENDING},
            TaskStatus.CANCELLED,
            error=CANCELLED_BEFORE,
            error_code=CANCELLED,
        )
        if cancelled:
            self._remove_queued(task_id)
            with contextlib.suppress(AppError):  # the task is cancelled in any case
                return self._database.append_chat_message(
                    user_id, task_id, "assistant", CANCELLED_BEFORE
                )
            return cancelled
        if task.status not in TERMINAL_STATUSES:
            is_requested = self._cancel_local(task_id) or self._cancel_remote(user_id, task_id)
            task = self._database.get_task_status(user_id, task_id)
            if task.status is TaskStatus.CANCELLED or (
                is_requested and task.status is TaskStatus.RUNNING
            ):
                return task
            if task.status is TaskStatus.PENDING:  # it was queued again at that moment
                return self.cancel(user_id, task_id)
        raise _not_cancellable(task)

    def cancel_all(self, user_id: str, project_id: int | None) -> None:
        """Cancel all active tasks; see `Dispatcher.cancel_active_tasks`."""
        cursor: int | None = None
        while True:
            page = self._database.list_tasks(user_id, project_id=project_id, cursor=cursor)
            for task in page.tasks:
                if task.status in ACTIVE_STATUSES:
                    # The task may have ended or been deleted meanwhile.
                    with contextlib.suppress(Conflict, NotFound):
                        self.cancel(user_id, task.id)
            cursor = page.next_cursor
            if cursor is None:
                return

    def _cancel_remote(self, user_id: str, task_id: int) -> bool:
        if not self._is_shared or not self._database.request_stop(user_id, task_id):
            return False
        deadline = time.monotonic() + CANCEL_SECONDS
        while time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            if self._database.get_task_status(user_id, task_id).status is not TaskStatus.RUNNING:
                break
        return True


def _not_cancellable(task: Task) -> Conflict:
    if task.status in TERMINAL_STATUSES:
        return Conflict(f"The task has already ended: it is {task.status}.", "task_already_ended")
    return Conflict(
        "The task cannot be cancelled now: this server is stopping or does not run the task. "
        "Cancel it again after the server has restarted.",
        "task_not_here",
    )
