"""Follows the tasks of `WEBHOOK_USER_ID` and shows on GitHub what becomes of them.

The database is read, not the dispatcher, so that a task is followed also when another server runs
it, or when this one was restarted meanwhile.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import structlog

from utils.api.endpoint import Services
from utils.errors import DatabaseUnavailable, NotFound, Unavailable
from utils.models.tasks import TaskMark
from utils.webhooks.end_comments import EndComments
from utils.webhooks.statuses import CommitStatuses

SCAN_SECONDS = 5.0

PAUSE_SECONDS = 30.0
"""Time without further tries after GitHub was unavailable."""

FOLLOWED = timedelta(days=1)
"""Tasks that have not changed for so long are not followed, for example from before an update."""

OVERLAP = timedelta(minutes=1)
"""Time after which every change that another server makes can be read, with a reserve."""

log = structlog.get_logger(__name__)


class TaskFollower:
    """Looks for tasks that have changed, comments on their ends and sets their commit statuses."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._user_id = str(services.settings.webhook_user_id)
        self._statuses = CommitStatuses(services)
        self._comments = EndComments(services)
        self._since = datetime.now(UTC) - FOLLOWED
        self._shown: dict[int, datetime] = {}
        self._scan_seconds = SCAN_SECONDS
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="task follower", daemon=True)

    def start(self) -> None:
        """Start to look for tasks that have changed."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, after the comment that is being written."""
        self._is_stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_stopping.wait(self._scan_seconds):
            try:
                self.scan()
            except DatabaseUnavailable:
                continue
            except Unavailable as error:
                log.warning("tasks not shown yet", action="webhook.delayed", code=error.code)
                self._is_stopping.wait(PAUSE_SECONDS)
            except Exception:
                log.exception("tasks not followed", action="webhook.follower_crashed")

    def scan(self) -> None:
        """Show all tasks that have changed since the last scan, the oldest change first.

        Raises `Unavailable` when GitHub is; the next scan goes on with the same task.
        """
        marks = self._services.database.list_task_marks((), (self._user_id,), self._since)
        changed = [mark for mark in marks if self._shown.get(mark.id) != mark.updated_at]
        for mark in sorted(changed, key=lambda one: one.updated_at):
            if self._is_stopping.is_set():
                return
            if self._show(mark):
                self._shown[mark.id] = mark.updated_at
        self._forget(marks)

    def _show(self, mark: TaskMark) -> bool:
        """Show a task; return False when it has to be read again although nothing changes."""
        is_done = True
        try:
            task = self._services.database.get_task_status(self._user_id, mark.id)
            is_done = self._comments.show(task)
            self._statuses.show(task)
        except Unavailable:
            raise
        except NotFound:
            pass
        except Exception:
            # A user can write to their rows; the other tasks are followed all the same.
            log.exception("task not followed", action="webhook.task_not_followed", task_id=mark.id)
        return is_done

    def _forget(self, marks: list[TaskMark]) -> None:
        """Read only what may have changed since now in the next scan."""
        found = {mark.id: mark.updated_at for mark in marks}
        self._shown = {one: at for one, at in self._shown.items() if one in found}
        self._statuses.forget_except(found)
        left = [at for one, at in found.items() if self._shown.get(one) != at]
        newest = min(left, default=max(found.values(), default=self._since))
        self._since = max(self._since, newest - OVERLAP, datetime.now(UTC) - FOLLOWED)
