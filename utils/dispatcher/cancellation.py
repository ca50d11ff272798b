"""Ends tasks for their users, wherever they are: waiting, running here, or on another server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from database import Database
from utils.dispatcher.task_result import CANCELLED, not_cancelled
from utils.errors import Conflict, NotFound
from utils.models.tasks import ACTIVE_STATUSES, TERMINAL_STATUSES, Task, TaskStatus

CANCEL_SECONDS = 15.0
"""How long a cancel waits for the end of a sandbox whose cloud, or server, does not answer."""

LOOK_SECONDS = 0.5
"""Pause between two looks at a task that another server is to end."""


class Canceller:
    """Cancels tasks. For any thread but the event loop's.

    `forget` takes a task out of the queue; `end_here` ends one that runs here, and says whether
    it does.
    """

    def __init__(
        self,
        database: Database,
        forget: Callable[[int], object],
        end_here: Callable[[int], bool],
    ) -> None:
        self._database = database
        self._forget = forget
        self._end_here = end_here
        # The file of SQLite is in the data folder, which one server has to itself.
        self._shared = database.kind != "sqlite"

    def cancel(self, user_id: str, task_id: int) -> Task:
        """Cancel a task; see `Dispatcher.cancel_task`."""
        task = self._database.get_task_status(user_id, task_id)
        cancelled = self._database.move_task(
            task_id,
            {TaskStatus.PENDING},
            TaskStatus.CANCELLED,
            error="The task was cancelled before it started.",
            error_code=CANCELLED,
        )
        if cancelled:
            self._forget(task_id)
            return cancelled
        if task.status not in TERMINAL_STATUSES:
            is_taken = self._end_here(task_id) or self._end_elsewhere(user_id, task_id)
            task = self._database.get_task_status(user_id, task_id)
            if task.status is TaskStatus.CANCELLED or (
                is_taken and task.status is TaskStatus.RUNNING
            ):
                return task
            if task.status is TaskStatus.PENDING:  # it was put back at that moment
                return self.cancel(user_id, task_id)
        raise not_cancelled(task)

    def cancel_all(self, user_id: str, project_id: int | None) -> None:
        """Cancel what waits and runs; see `Dispatcher.cancel_active_tasks`."""
        cursor: int | None = None
        while True:
            page = self._database.list_tasks(user_id, project_id=project_id, cursor=cursor)
            for task in page.tasks:
                if task.status in ACTIVE_STATUSES:
                    with contextlib.suppress(Conflict, NotFound):  # it ended, or went, by itself
                        self.cancel(user_id, task.id)
            cursor = page.next_cursor
            if cursor is None:
                return

    def _end_elsewhere(self, user_id: str, task_id: int) -> bool:
        if not self._shared or not self._database.request_stop(user_id, task_id):
            return False
        deadline = time.monotonic() + CANCEL_SECONDS
        while time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
            if self._database.get_task_status(user_id, task_id).status is not TaskStatus.RUNNING:
                break
        return True
