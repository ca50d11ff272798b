"""Comments on the end of each turn of a task that a comment started, where it was asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog

from utils.api.endpoint import Services
from utils.api.github_access import find_project
from utils.errors import AppError, NotFound, Unavailable
from utils.github.app import Purpose
from utils.models.tasks import Json, Task
from utils.models.turns import Turn, TurnStatus
from utils.pull_requests.text import fenced
from utils.webhooks.delivery import TIMEOUT_SECONDS

COMMENTED_WITHIN = timedelta(days=1)
"""Older ends get no comment, for example those from before an update of this server."""

CLAIM_SECONDS = 300
"""Time for which one server alone tries to write a comment; longer than a request may take."""

STAMP_SECONDS = 1
"""The message that ends a turn is stored with the turn, and may be stamped a moment later."""

CLOCKS = timedelta(minutes=10)
"""Most by which the clocks of GitHub and of this machine may differ."""

SUMMARY_CHARACTERS = 4_000

_ENDED = {TurnStatus.COMPLETED, TurnStatus.FAILED, TurnStatus.CANCELLED}

log = structlog.get_logger(__name__)


def asked_in(full_name: str, number: int, commit: str | None) -> Json:
    """Return the place of a comment, to be stored with its task.

    On a pull request `commit` is the last one of its branch.
    """
    place = {"repository": full_name, "number": number, "is_pull_request": commit is not None}
    return place if commit is None else {**place, "commit": commit}


class EndComments:
    """Writes one comment for each end. For one thread.

    A recorded delivery marks a comment that was written. Before it is written a server records that
    it tries: when the server ends in between, the comments are read before the next try.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._user_id = str(services.settings.webhook_user_id)
        self._tries: set[str] = set()

    def show(self, task: Task) -> bool:
        """Comment on the ends of a task that have no comment yet.

        Returns False when another server may be writing one. Raises `Unavailable`.
        """
        place = (task.execution_metadata or {}).get("asked_in")
        if not isinstance(place, dict) or not isinstance(place.get("number"), int):
            return True
        # A user can write to their rows; only their projects are places for comments.
        full_name = str(place.get("repository"))
        if find_project(self._services, self._user_id, full_name, is_active=True) is None:
            return True
        turns = self._services.database.list_turns(self._user_id, task.id)
        return all(self._comment(task.id, turn, place) for turn in turns if _is_due(turn))

    def _comment(self, task_id: int, turn: Turn, place: Json) -> bool:
        database = self._services.database
        # The first turn has the name that earlier versions gave to the end of the task.
        name = f"task-end-{task_id}" + (f"-{turn.number}" if turn.number > 1 else "")
        if database.has_delivery(name):
            return True
        age = datetime.now(UTC) - _end_of(turn)
        attempt = int(age.total_seconds() / CLAIM_SECONDS)
        this_try = f"{name}-try-{attempt}"
        is_first = attempt <= 0 and this_try not in self._tries
        if this_try not in self._tries and not database.record_delivery(this_try):
            return False
        self._tries.add(this_try)
        try:
            self._write(task_id, turn, place, is_first=is_first)
        except Unavailable:
            raise
        except AppError as error:
            log.warning("end of task not told", action="webhook.end_not_told", code=error.code)
        database.record_delivery(name)
        self._tries.discard(this_try)
        return True

    def _write(self, task_id: int, turn: Turn, place: Json, *, is_first: bool) -> None:
        tokens = self._services.github_tokens
        full_name, number = str(place.get("repository")), int(place["number"])
        purpose = Purpose.CHANGE_PULLS if place.get("is_pull_request") else Purpose.CHANGE_ISSUES
        try:
            text = self._text(self._services.database.get_task(self._user_id, task_id), turn)
        except NotFound:
            return
        chosen = tokens.server_token(self._user_id, full_name, purpose)
        with tokens.open_client(chosen, full_name, TIMEOUT_SECONDS) as github:
            since = _end_of(turn) - CLOCKS
            # An earlier try may have written it without an answer.
            if is_first or not github.has_comment(full_name, number, text, since=since):
                github.comment(full_name, number, text)

    def _text(self, task: Task, turn: Turn) -> str:
        """Return the comment: how the turn ended, the link and the agent's summary."""
        link = self._services.settings.task_url(task.id)
        name = f"Task {task.id}" if turn.number == 1 else f"Turn {turn.number} of task {task.id}"
        name = f"[{name}]({link})" if link else name
        if turn.status is TurnStatus.CANCELLED:
            return f"{name} was cancelled."
        count = turn.files or 0
        files = "no file" if count == 0 else "1 file" if count == 1 else f"{count} files"
        if turn.status is TurnStatus.FAILED:
            kept = f" Its changes until then are kept: {files}." if count else ""
            return f"{name} failed.{kept}\n\n{_quoted(turn.error or turn.error_code or '')}"
        return (
            f"{name} is completed and changed {files}.\n\n{_quoted(_summary(task, turn))}".strip()
        )


def _is_due(turn: Turn) -> bool:
    return turn.status in _ENDED and _end_of(turn) > datetime.now(UTC) - COMMENTED_WITHIN


def _end_of(turn: Turn) -> datetime:
    return turn.ended_at or turn.created_at


def _summary(task: Task, turn: Turn) -> str:
    """Return what the agent said at the end of a turn."""
    begin, end = (
        turn.started_at or turn.created_at,
        _end_of(turn) + timedelta(seconds=STAMP_SECONDS),
    )
    texts = [
        str(message.get("content", ""))
        for message in task.chat_messages
        if message.get("role") == "assistant"
        and begin <= datetime.fromisoformat(str(message["timestamp"])) <= end
    ]
    return texts[-1] if texts else ""


def _quoted(text: str) -> str:
    """Return any text so that GitHub notifies nobody and links nothing because of it."""
    short = text.replace("\0", "").strip()
    if len(short) > SUMMARY_CHARACTERS:
        short = f"{short[:SUMMARY_CHARACTERS]}..."
    return fenced(short) if short else ""
