"""Sets a commit status on GitHub while a task of a pull request runs, and when it has ended.

A status is set for a task that a comment on a pull request started, on the commit that the comment
found, and for a task with an open pull request that runs again, on the commit that it pushed last.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from utils.api.endpoint import Services
from utils.api.github_access import find_project
from utils.api.github_operations import set_commit_status
from utils.api.schemas.github import OWN_STATUS
from utils.errors import AppError, Unavailable
from utils.git.repository_url import find_github_name
from utils.github.app import Purpose
from utils.github.models import CommitState
from utils.models.tasks import TERMINAL_STATUSES, Task, TaskStatus
from utils.webhooks.delivery import TIMEOUT_SECONDS

SET_WITHIN = timedelta(days=1)
"""The end of a task is not set any more when it is older."""

_STATES = {
    TaskStatus.COMPLETED: CommitState.SUCCESS,
    TaskStatus.FAILED: CommitState.FAILURE,
    TaskStatus.CANCELLED: CommitState.ERROR,
}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Shown:
    """The state that a status shows: when the task ended, None for a running one, and its commit.

    The commit of a pull request may be recorded while the task runs.
    """

    ended_at: datetime | None
    pr_commit: str | None


@dataclass(frozen=True, slots=True)
class _Place:
    """The commit whose status shows a task; `is_asked` when a comment started the task."""

    full_name: str
    commit: str
    is_asked: bool


class CommitStatuses:
    """Compares tasks with the statuses that were set for them. For one thread.

    A set status is recorded after GitHub has accepted it: setting it twice does no harm, and a
    status that stays pending would block a merge. So what a restart interrupted is set again.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._user_id = str(services.settings.webhook_user_id)
        self._done: dict[int, _Shown] = {}

    def show(self, task: Task) -> None:
        """Set the status of a task unless it is set. Raises `Unavailable`, also for GitHub."""
        now = _Shown(_ended_at(task), task.pr_commit)
        if self._done.get(task.id) == now:
            return
        try:
            self._compare(task, now.ended_at)
        except Unavailable:
            raise
        except AppError as error:
            log.warning("status not set", action="webhook.status_not_set", code=error.code)
        self._done[task.id] = now

    def forget_except(self, known: Collection[int]) -> None:
        """Forget the tasks that are not followed any more."""
        self._done = {number: done for number, done in self._done.items() if number in known}

    def _compare(self, task: Task, moment: datetime | None) -> None:
        if moment is not None and moment < datetime.now(UTC) - SET_WITHIN:
            return
        place = self._place(task)
        if place is None:
            return
        if moment is None:
            self._services.database.record_delivery(_begun(task, place))
            self._set(task, place)
        elif self._is_due(task, place, moment):
            self._set(task, place)
            self._services.database.record_delivery(_ended(task, moment))

    def _is_due(self, task: Task, place: _Place, moment: datetime) -> bool:
        database = self._services.database
        if not place.is_asked and not database.has_delivery(_begun(task, place)):
            return False
        # This process may have called the task pending after another one had set its end.
        shown = self._done.get(task.id)
        is_pending_here = shown is not None and shown.ended_at is None
        return is_pending_here or not database.has_delivery(_ended(task, moment))

    def _place(self, task: Task) -> _Place | None:
        asked = (task.execution_metadata or {}).get("asked_in")
        if isinstance(asked, dict) and isinstance(asked.get("commit"), str):
            place = _Place(str(asked.get("repository")), asked["commit"], is_asked=True)
        elif task.pr_commit is not None and task.pr_state == "open":
            host = self._services.settings.github_host
            name = find_github_name(task.repo_url, host)
            place = _Place(name or "", task.pr_commit, is_asked=False)
        else:
            return None
        # A user can write to their rows; only their projects are places for statuses.
        project = find_project(self._services, self._user_id, place.full_name, is_active=True)
        return place if project else None

    def _set(self, task: Task, place: _Place) -> None:
        tokens = self._services.github_tokens
        chosen = tokens.server_token(self._user_id, place.full_name, Purpose.SET_STATUS)
        with tokens.open_client(chosen, place.full_name, TIMEOUT_SECONDS) as github:
            set_commit_status(
                github,
                place.full_name,
                place.commit,
                _STATES.get(task.status, CommitState.PENDING),
                context=f"{OWN_STATUS}/task-{task.id}",
                description=_description(task),
                target_url=self._services.settings.task_url(task.id),
            )


def _ended_at(task: Task) -> datetime | None:
    if task.status not in TERMINAL_STATUSES:
        return None
    return task.completed_at or task.updated_at


def _begun(task: Task, place: _Place) -> str:
    return f"status-{task.id}-{place.commit}"


def _ended(task: Task, moment: datetime) -> str:
    return f"status-{task.id}-{moment.timestamp():.3f}"


def _description(task: Task) -> str:
    name = f"Task {task.id}"
    if task.status is TaskStatus.COMPLETED:
        count = len(task.changed_files or ())
        return f"{name} is completed; changed files: {count}."
    if task.status is TaskStatus.FAILED:
        return f"{name} failed: {' '.join((task.error or task.error_code or '').split())}"
    if task.status is TaskStatus.CANCELLED:
        return f"{name} was cancelled."
    return f"{name} is at work."
