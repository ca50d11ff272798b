"""Responses as the application makes them, and their bytes on the wire."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from werkzeug.http import http_date

from utils.server.request_reader import Request
from utils.streams.waiting import HeldBack

LAST_CHUNK = b"0\r\n\r\n"

_FORBIDDEN = "\r\n\0"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; a body that is made bit by bit is a stream, one that is held back is not sent."""

    status: str
    headers: Sequence[tuple[str, str]]
    body: bytes | AsyncIterable[bytes] | HeldBack

    def head(self, request: Request | None, *, keep_alive: bool) -> bytes:
        """Return status line and headers. Raises `ValueError` if a header would break out of them.

        `request` is None for an answer to something that is no request.
        """
        fields = [*self.headers, ("Date", _date(int(time.time())))]
        if not keep_alive:
            fields.append(("Connection", "close"))
        elif request is not None and request.version == "1.0":
            fields.append(("Connection", "keep-alive"))
        if not isinstance(self.body, bytes):
            if is_chunked(request):
                fields.append(("Transfer-Encoding", "chunked"))
        elif not self._names("content-length") and _may_have_body(self.status):
            fields.append(("Content-Length", str(len(self.body))))
        lines = [f"HTTP/1.1 {self.status}", *(f"{name}: {value}" for name, value in fields)]
        text = "".join(lines)
        if any(character in text for character in _FORBIDDEN):
            raise ValueError("a header of the response contains a line break")
        return "\r\n".join([*lines, "\r\n"]).encode("latin-1")

    def whole(self, request: Request | None, *, keep_alive: bool) -> bytes:
        """Return the bytes of a response that is no stream."""
        head = self.head(request, keep_alive=keep_alive)
        has_body = _may_have_body(self.status) and (request is None or request.method != "HEAD")
        return head + self.body if has_body and isinstance(self.body, bytes) else head

    def _names(self, wanted: str) -> bool:
        return any(name.lower() == wanted for name, _ in self.headers)


def is_chunked(request: Request | None) -> bool:
    """Tell whether a client reads chunks; for others a stream ends with the connection."""
    return request is not None and request.version != "1.0"


def chunk(data: bytes) -> bytes:
    """Return a part of a stream as a chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return http_date(second)


def _may_have_body(status: str) -> bool:
    return not status.startswith(("1", "204", "304"))
