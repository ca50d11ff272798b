"""Tells the end of a task that a comment started, where it was asked."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import stamina
import structlog

from utils.api.endpoint import Services
from utils.api.github_access import find_project
from utils.errors import AppError, DatabaseUnavailable, NotFound, Unavailable
from utils.github.app import Purpose
from utils.models.tasks import TERMINAL_STATUSES, Json, Task, TaskStatus, TaskSummary
from utils.pull_requests.text import fenced
from utils.webhooks.delivery import TIMEOUT_SECONDS
from utils.webhooks.statuses import CommitStatuses

SCAN_SECONDS = 5.0

TOLD_WITHIN = timedelta(days=1)
"""Older ends are not told, for example those from before an update of this server."""

SUMMARY_CHARACTERS = 4_000

ATTEMPTS = 5

log = structlog.get_logger(__name__)


def asked_in(full_name: str, number: int, commit: str | None) -> Json:
    """Return the place of a comment, to be stored with its task.

    On a pull request `commit` is the last one of its branch.
    """
    place = {"repository": full_name, "number": number, "is_pull_request": commit is not None}
    return place if commit is None else {**place, "commit": commit}


class TaskEndReporter:
    """Looks for tasks of `WEBHOOK_USER_ID` that have ended, and comments on their issues.

    The commit statuses of the tasks are set on the same occasion.

    The database is asked, not the dispatcher, so that the end is also told when another server ran
    the task, or when this one was restarted meanwhile. A recorded delivery marks a told end.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._user_id = str(services.settings.webhook_user_id)
        self._statuses = CommitStatuses(services)
        self._settled: set[int] = set()
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="task ends", daemon=True)

    def start(self) -> None:
        """Start to look for ended tasks."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, after the comment that is being written."""
        self._is_stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_stopping.wait(SCAN_SECONDS):
            try:
                self._scan()
            except DatabaseUnavailable:
                continue
            except Exception:
                log.exception("ends of tasks not told", action="webhook.end_not_told")

    def _scan(self) -> None:
        page = self._services.database.list_tasks(self._user_id)
        for summary in reversed(page.tasks):
            if self._is_stopping.is_set():
                return
            if summary.status in TERMINAL_STATUSES and summary.id not in self._settled:
                self._settle(summary)
        self._settled &= {summary.id for summary in page.tasks}
        self._statuses.follow(page.tasks)

    def _settle(self, summary: TaskSummary) -> None:
        self._settled.add(summary.id)
        if (summary.completed_at or summary.updated_at) < datetime.now(UTC) - TOLD_WITHIN:
            return
        try:
            task = self._services.database.get_task_status(self._user_id, summary.id)
        except NotFound:
            return
        place = (task.execution_metadata or {}).get("asked_in")
        if not isinstance(place, dict) or task.status not in TERMINAL_STATUSES:
            return
        if self._services.database.record_delivery(f"task-end-{task.id}"):
            self._tell(task, place)

    def _tell(self, task: Task, place: Json) -> None:
        services = self._services
        full_name, number = str(place.get("repository")), place.get("number")
        if not isinstance(number, int):
            return
        # A user can write to their rows; only their projects are places for comments.
        if find_project(services, self._user_id, full_name, is_active=True) is None:
            return
        purpose = Purpose.CHANGE_PULLS if place.get("is_pull_request") else Purpose.CHANGE_ISSUES
        try:
            for attempt in stamina.retry_context(on=Unavailable, attempts=ATTEMPTS, timeout=60):
                with attempt:
                    chosen = services.github_tokens.server_token(self._user_id, full_name, purpose)
                    with services.github_tokens.open_client(
                        chosen, full_name, TIMEOUT_SECONDS
                    ) as github:
                        github.comment(full_name, number, self._text(task))
        except AppError as error:
            log.warning("end of task not told", action="webhook.end_not_told", code=error.code)

    def _text(self, task: Task) -> str:
        """Return the comment: how the task ended, the link and the agent's summary."""
        link = self._services.settings.task_url(task.id)
        name = f"[Task {task.id}]({link})" if link else f"Task {task.id}"
        if task.status is TaskStatus.CANCELLED:
            return f"{name} was cancelled."
        count = len(task.changed_files or ())
        files = "no file" if count == 0 else "1 file" if count == 1 else f"{count} files"
        if task.status is TaskStatus.FAILED:
            kept = f" Its changes until then are kept: {files}." if count else ""
            return f"{name} failed.{kept}\n\n{_quoted(task.error or task.error_code or '')}"
        return f"{name} is completed and changed {files}.\n\n{_quoted(_summary(task))}".strip()


def _summary(task: Task) -> str:
    said = [one for one in task.chat_messages if one.get("role") == "assistant"]
    return str(said[-1].get("content", "")) if said else ""


def _quoted(text: str) -> str:
    """Return any text so that GitHub notifies nobody and links nothing because of it."""
    short = text.replace("\0", "").strip()
    if len(short) > SUMMARY_CHARACTERS:
        short = f"{short[:SUMMARY_CHARACTERS]}..."
    return fenced(short) if short else ""
