"""Collects received bytes until a whole HTTP/1 request is there.

gunicorn parses a request only after all of it has arrived, so a slow client holds no thread. This
module only finds the end of a request; gunicorn checks everything else.
"""

from __future__ import annotations

import re

from werkzeug.exceptions import (
    BadRequest,
    RequestEntityTooLarge,
    RequestHeaderFieldsTooLarge,
    RequestURITooLarge,
)
from werkzeug.exceptions import NotImplemented as UnknownCoding

MAX_LINE_BYTES = 8_190
"""Longest request line. gunicorn allows no larger limit."""

MAX_FIELD_BYTES = 40_960
"""Longest header field: an access token of 32 kB fits."""

MAX_HEAD_BYTES = 65_536
"""Largest request line and header together."""

_MAX_CHUNK_LINE_BYTES = 256
_MAX_TRAILER_BYTES = 8_192
# Each chunk costs time on the main thread, so many tiny ones are refused. Some clients send a
# chunk for each line or each kilobyte.
_FREE_CHUNKS = 10_000
_SMALLEST_MEAN_CHUNK = 256

_LINE_END = b"\r\n"
_HEAD_END = b"\r\n\r\n"
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?", re.DOTALL)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_ORIGIN = re.compile(rb"\r\norigin:[ \t]*([^\r\n]{1,300})\r\n", re.IGNORECASE)


class RequestBuffer:
    """Holds what a client has sent and was not yet taken as a request.

    A body in chunks is taken as a single chunk. After an exception the rest is meaningless.
    """

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._received = bytearray()
        self._searched = 0
        self._head = b""
        self._body: _SizedBody | _ChunkedBody | None = None
        self._expects_continue = False

    def __len__(self) -> int:
        return len(self._head) + len(self._received) + (self._body.size if self._body else 0)

    @property
    def has_head(self) -> bool:
        """True once the head of the present request is complete."""
        return self._body is not None

    @property
    def origin(self) -> str | None:
        """The Origin header of the present request, if it has arrived."""
        return find_origin(self._head or self._received)

    def add(self, data: bytes) -> None:
        """Append received bytes."""
        self._received += data

    def take_request(self) -> bytes | None:
        """Return the next request and forget it; None while it is incomplete.

        Raises `HTTPException` for a request that cannot or may not be read to its end.
        """
        if self._body is None:
            self._find_head()
        body = self._body.take(self._received) if self._body else None
        if body is None:
            return None
        request = self._head + body
        self._head, self._body, self._searched = b"", None, 0
        return request

    def take_expectation(self) -> bool:
        """Return True once for a request whose client waits for `100 Continue`."""
        expects, self._expects_continue = self._expects_continue, False
        return expects

    def _find_head(self) -> None:
        received = self._received
        while received.startswith(_LINE_END):  # clients may send empty lines before a request
            del received[: len(_LINE_END)]
            self._searched = 0
        end = received.find(_HEAD_END, max(0, self._searched - len(_HEAD_END) + 1))
        if end < 0:
            self._check_unfinished_head()
            self._searched = len(received)
            return
        end += len(_HEAD_END)
        self._check_size(received.find(_LINE_END), end)
        self._head = bytes(received[:end])
        del received[:end]
        self._read_framing()

    def _check_unfinished_head(self) -> None:
        start = self._searched
        if start and self._received[start - 1] == ord("\r"):
            start -= 1
        new = self._received[start:]
        if new.count(b"\n") != new.count(_LINE_END):
            raise BadRequest  # the head would never end
        self._check_size(self._received.find(_LINE_END, 0, MAX_LINE_BYTES + 2), len(self._received))

    def _check_size(self, line_bytes: int, head_bytes: int) -> None:
        if line_bytes > MAX_LINE_BYTES or (line_bytes < 0 and head_bytes > MAX_LINE_BYTES):
            raise RequestURITooLarge
        if head_bytes > MAX_HEAD_BYTES:
            raise RequestHeaderFieldsTooLarge

    def _read_framing(self) -> None:
        lengths, codings = [], []
        for line in self._head.split(_LINE_END)[1:]:
            name, _, value = line.partition(b":")
            match name.lower():
                case b"content-length":
                    lengths.append(value.strip())
                case b"transfer-encoding":
                    codings.append(value.strip().lower())
                case b"expect":
                    self._expects_continue = value.strip().lower() == b"100-continue"
        if codings and codings != [b"chunked"]:
            raise UnknownCoding
        if len(lengths) + len(codings) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
            raise BadRequest
        if codings:
            self._body = _ChunkedBody(self._max_body_bytes)
            return
        length = int(lengths[0]) if lengths else 0
        if length > self._max_body_bytes:
            raise RequestEntityTooLarge
        self._body = _SizedBody(length)


class _SizedBody:
    """A body with a Content-Length."""

    size = 0

    def __init__(self, length: int) -> None:
        self._length = length

    def take(self, received: bytearray) -> bytes | None:
        if len(received) < self._length:
            return None
        body = bytes(memoryview(received)[: self._length])
        del received[: self._length]
        return body


class _ChunkedBody:
    """A body in chunks; they are joined to one as they arrive."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._joined = bytearray()
        self._left = 0  # of the present chunk with its line end
        self._chunks = 0
        self._has_last = False
        self._trailer_bytes = 0

    @property
    def size(self) -> int:
        return len(self._joined)

    def take(self, received: bytearray) -> bytes | None:
        while not self._has_last:
            if not (self._take_data(received) if self._left else self._take_size(received)):
                return None
        return self._as_one_chunk() if self._take_trailer(received) else None

    def _take_size(self, received: bytearray) -> bool:
        line = _take_line(received, _MAX_CHUNK_LINE_BYTES)
        if line is None:
            return False
        found = _CHUNK_SIZE.fullmatch(line)
        if found is None:
            raise BadRequest
        size = int(found[1], 16)
        self._chunks += 1
        if self.size + size > self._max_bytes:
            raise RequestEntityTooLarge
        if self._chunks > _FREE_CHUNKS + self.size // _SMALLEST_MEAN_CHUNK:
            raise BadRequest
        if size:
            self._left = size + len(_LINE_END)
        else:
            self._has_last = True
        return True

    def _take_data(self, received: bytearray) -> bool:
        data = max(0, min(len(received), self._left - len(_LINE_END)))
        self._joined += memoryview(received)[:data]
        del received[:data]
        self._left -= data
        if self._left > len(_LINE_END) or len(received) < self._left:
            return False
        if not received.startswith(_LINE_END):
            raise BadRequest
        del received[: len(_LINE_END)]
        self._left = 0
        return True

    def _take_trailer(self, received: bytearray) -> bool:
        while (line := _take_line(received, _MAX_TRAILER_BYTES)) is not None:
            self._trailer_bytes += len(line)
            if self._trailer_bytes > _MAX_TRAILER_BYTES:
                raise RequestHeaderFieldsTooLarge
            if not line:
                return True
        return False

    def _as_one_chunk(self) -> bytes:
        last = b"0\r\n\r\n"
        body = bytes(self._joined)
        return b"%x\r\n%b\r\n%b" % (len(body), body, last) if body else last


def find_origin(request: bytes | bytearray) -> str | None:
    """Return the Origin header of a request or of its beginning, None without one."""
    found = _ORIGIN.search(request, 0, MAX_HEAD_BYTES)
    return found[1].decode("latin-1").strip() if found else None


def _take_line(received: bytearray, most: int) -> bytes | None:
    """Remove and return the first line without its end, None while it is incomplete."""
    end = received.find(_LINE_END, 0, most + len(_LINE_END))
    if end < 0:
        if len(received) >= most + len(_LINE_END):
            raise BadRequest
        return None
    line = bytes(received[:end])
    del received[: end + len(_LINE_END)]
    return line
