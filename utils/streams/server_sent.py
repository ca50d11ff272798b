"""Writes server-sent events, and the body of a response that streams them.

The format is that of the HTML standard, section 9.2: fields in lines, an empty line after each
event, and comments that begin with a colon.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from pydantic_core import to_json

MEDIA_TYPE = "text/event-stream"

RETRY_MILLISECONDS = 2_000
"""Time after which a browser connects again when a stream has broken."""

PREAMBLE = b"retry: %d\n\n" % RETRY_MILLISECONDS
COMMENT = b": still here\n\n"

Chunks = AsyncIterator[bytes]


def event_block(name: str, data: Any, event_id: int | None = None) -> bytes:
    """Return one event. `data` becomes one line of JSON; times become ISO 8601 with a zone."""
    number = b"" if event_id is None else b"id: %d\n" % event_id
    line = to_json(data, inf_nan_mode="null")
    return b"%sevent: %s\ndata: %s\n\n" % (number, name.encode(), line)


class StreamBody:
    """The body of a response. The web server iterates it on its event loop, not in a thread."""

    def __init__(self, begin: Callable[[], Chunks]) -> None:
        self._begin = begin

    def __aiter__(self) -> Chunks:
        return self._begin()
