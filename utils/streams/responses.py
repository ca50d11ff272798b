"""Tells whether a client wants a stream, and answers with one."""

from __future__ import annotations

from collections.abc import Callable

from flask import Response, request

from utils.errors import InvalidInput
from utils.streams.server_sent import MEDIA_TYPE, Chunks, StreamBody

MAX_ID_DIGITS = 15


def wants_stream() -> bool:
    """Tell whether the current request asks for server-sent events."""
    accepted = request.headers.get("Accept", "")
    return any(part.partition(";")[0].strip().lower() == MEDIA_TYPE for part in accepted.split(","))


def last_event_id(default: int) -> int:
    """Return the number of the last event that the client has. Raises `InvalidInput`."""
    text = request.headers.get("Last-Event-ID", "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdecimal() or len(text) > MAX_ID_DIGITS:
        raise InvalidInput("Last-Event-ID: must be the id of an event of this stream, a number.")
    return int(text)


def stream_response(begin: Callable[[], Chunks]) -> Response:
    """Return a response whose body the web server iterates on its event loop.

    nginx passes each event on at once because of X-Accel-Buffering.
    """
    return Response(
        StreamBody(begin),  # type: ignore[arg-type]
        mimetype=MEDIA_TYPE,
        direct_passthrough=True,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
