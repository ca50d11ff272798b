"""Cancels tasks for their users: queued ones, and running ones on this or another server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence

import anyio

from database import Database
from utils.dispatcher.results import CANCELLED
from utils.dispatcher.task_run import TaskRun
from utils.errors import AppError, Conflict, NotFound
from utils.models.tasks import ACTIVE_STATUSES, TERMINAL_STATUSES, Task, TaskStatus

CANCEL_SECONDS = 15.0
"""Longest time that a cancel waits for the end of a running task."""

CANCELLED_BEFORE = "The task was cancelled before it started."

POLL_SECONDS = 0.5
"""Pause between two reads of the status of a task that another server is cancelling."""


class Canceller:
    """Cancels tasks. For all threads except that of the event loop.

    `remove_queued` removes a task from the queue. `cancel_local` cancels the tasks that run on this
    server and returns them, without those that were abandoned before because the server stops.
    """

    def __init__(
        self,
        database: Database,
        remove_queued: Callable[[int], object],
        cancel_local: Callable[[Sequence[int]], Collection[int]],
        end_sandbox: Callable[[str], object],
    ) -> None:
        self._database = database
        self._remove_queued = remove_queued
        self._cancel_local = cancel_local
        self._end_sandbox = end_sandbox
        # A SQLite file is in the data folder, which is locked by one server.
        self._is_shared = database.is_shared

    def cancel(self, user_id: str, task_id: int) -> Task:
        """Cancel a task; see `Dispatcher.cancel_task`."""
        task = self._database.get_task_status(user_id, task_id)
        if cancelled := self._cancel_queued(user_id, task_id):
            return cancelled
        if task.status not in TERMINAL_STATUSES:
            is_requested = bool(self._cancel_local([task_id])) or self._cancel_remote(
                user_id, task_id
            )
            task = self._database.get_task_status(user_id, task_id)
            if task.status is TaskStatus.CANCELLED or (
                is_requested and task.status is TaskStatus.RUNNING
            ):
                return task
            if task.status is TaskStatus.PENDING:  # it was queued again at that moment
                return self.cancel(user_id, task_id)
        raise _not_cancellable(task)

    def drop(self, user_id: str, tasks: Sequence[Task]) -> None:
        """Cancel tasks and end their kept sandboxes; see `Dispatcher.drop_tasks`."""
        self._cancel_together(user_id, [task.id for task in tasks if task.is_active])
        for task in tasks:
            kept = task.container_id if task.workspace_until else None
            if kept and self._database.keep_workspace(task.id, kept, None):
                self._end_sandbox(kept)

    def _cancel_together(self, user_id: str, task_ids: Sequence[int]) -> None:
        # The queued ones first, which would start when a running one ends.
        left = [one for one in task_ids if not self._cancel_queued(user_id, one)]
        here = self._cancel_local(left)
        for task_id in left:
            if task_id not in here:
                # It has ended, runs on another server, or was queued again at that moment.
                with contextlib.suppress(Conflict, NotFound):
                    self.cancel(user_id, task_id)

    def _cancel_queued(self, user_id: str, task_id: int) -> Task | None:
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


async def cancel_runs(runs: Mapping[int, TaskRun], task_ids: Sequence[int]) -> set[int]:
    """Cancel the runs of tasks and wait for their ends, as `Canceller` asks for."""
    wanted = [run for task_id in task_ids if (run := runs.get(task_id))]
    for run in wanted:
        run.cancel_soon()
    with anyio.move_on_after(CANCEL_SECONDS):
        for run in wanted:
            await run.ended.wait()
    return {run.task_id for run in wanted if not run.request.abandoned}


def _not_cancellable(task: Task) -> Conflict:
    if task.status in TERMINAL_STATUSES:
        return Conflict(f"The task has already ended: it is {task.status}.", "task_already_ended")
    return Conflict(
        "The task cannot be cancelled now: this server is stopping or does not run the task. "
        "Cancel it again after the server has restarted.",
        "task_not_here",
    )
