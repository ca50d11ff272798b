"""Answers 304 to clients that have the present row of a task, without reading it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

from flask import Response, request

from database import Database
from utils.config.version import VERSION

MATCH_HEADER = "If-None-Match"
"""Request header with the ETag of the answer that a client has."""


def task_etag(task_id: int, updated_at: datetime, stage: str | None = None) -> str:
    """Return the ETag of a task's row; each change of the row moves its `updated_at`.

    Another version may answer with other fields.
    """
    marks = f"{VERSION} {task_id} {updated_at.astimezone(UTC).isoformat()} {stage}"
    return hashlib.sha256(marks.encode()).hexdigest()[:32]


def unchanged(
    database: Database, user_id: str, task_id: int, etag_of: Callable[[datetime], str]
) -> Response | None:
    """Return an answer without a body if the client has the present one, else None.

    Only a request with `If-None-Match` asks the database when the row has changed.
    """
    if "HTTP_IF_NONE_MATCH" not in request.environ:
        return None
    changed_at = database.get_task_updated_at(user_id, task_id)
    if changed_at is None or not request.if_none_match.contains_weak(etag_of(changed_at)):
        return None
    response = Response(status=304)
    response.set_etag(etag_of(changed_at), weak=True)
    return response
