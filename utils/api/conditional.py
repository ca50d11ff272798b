"""Answers clients that have the present row of a task: with 304, or when the row has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from flask import Response, request

from utils.api.endpoint import Services
from utils.config.version import VERSION
from utils.dispatcher.dispatcher import Dispatcher
from utils.streams.waiting import held_back

MATCH_HEADER = "If-None-Match"
"""Request header with the ETag of the answer that a client has."""


def task_etag(
    task_id: int,
    updated_at: datetime,
    stage: str | None = None,
    queue_position: int | None = None,
    waiting_reason: str | None = None,
) -> str:
    """Return the ETag of a task's row; each change of the row moves its `updated_at`.

    The other marks change without the row. Another version may answer with other fields.
    """
    moment = updated_at.astimezone(UTC).isoformat()
    marks = f"{VERSION} {task_id} {moment} {stage} {queue_position} {waiting_reason}"
    return hashlib.sha256(marks.encode()).hexdigest()[:32]


def status_etag(dispatcher: Dispatcher, task_id: int, updated_at: datetime) -> str:
    """Return the ETag of a task's status as it is now."""
    stage = dispatcher.stage(task_id)
    position = dispatcher.queue_position(task_id) if stage is None else None
    reason = dispatcher.waiting_reason if position else None
    return task_etag(task_id, updated_at, stage, position, reason)


@dataclass(frozen=True, slots=True)
class Poll:
    """A request for the row of a task that the client may have already.

    `etag_of` makes the present ETag from the row's `updated_at`. The client lets the answer wait
    for `wait_seconds` until it is new.
    """

    services: Services
    user_id: str
    task_id: int
    wait_seconds: int
    etag_of: Callable[[datetime], str]

    def unchanged(self) -> Response | None:
        """Return an answer without a body if the client has the present row, else None.

        Only a request with `If-None-Match` asks the database when the row has changed.
        """
        if not self._names_an_answer:
            return None
        etag = self._present_etag()
        if etag is None or not request.if_none_match.contains_weak(etag):
            return None
        response = Response(status=304)
        response.set_etag(etag, weak=True)
        return self._held_back(response, etag)

    def answer(self, response: Response, etag: str, *, is_ended: bool) -> Response:
        """Return the response, or one that waits: for a change of a task that has not ended."""
        return response if is_ended or self._names_an_answer else self._held_back(response, etag)

    @property
    def _names_an_answer(self) -> bool:
        return "HTTP_IF_NONE_MATCH" in request.environ

    def _present_etag(self) -> str | None:
        changed_at = self.services.database.get_task_updated_at(self.user_id, self.task_id)
        return None if changed_at is None else self.etag_of(changed_at)

    def _held_back(self, response: Response, etag: str) -> Response:
        if not self.wait_seconds:
            return response
        return held_back(
            response,
            self.services.streams,
            self.user_id,
            self.task_id,
            self.wait_seconds,
            lambda: self._present_etag() == etag,
        )
