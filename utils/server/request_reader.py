"""Turns the bytes of a connection into whole requests; httptools parses, this module limits."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import httptools
from werkzeug.exceptions import (
    BadRequest,
    ExpectationFailed,
    HTTPException,
    RequestEntityTooLarge,
    RequestHeaderFieldsTooLarge,
    RequestURITooLarge,
)
from werkzeug.exceptions import NotImplemented as UnknownCoding

MAX_URL_BYTES = 8_190
"""Longest URL in a request line."""

MAX_FIELD_BYTES = 40_960
"""Longest header field: an access token of 32 kB fits."""

MAX_HEAD_BYTES = 65_536
"""Largest request line and header together."""

MAX_FIELDS = 100
"""Most header fields of a request."""

# What surrounds the data of a body in chunks: sizes, extensions, trailers. The data itself may be
# surrounded by as much again, so that a chunk for each line is accepted, and one for each byte not.
_MAX_FRAMING_BYTES = 65_536
# The parser gets so much at a time, because it goes on with the next request by itself.
_STEP_BYTES = 4_096


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request; the names of its headers are as the client wrote them."""

    method: str
    target: bytes
    version: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    keeps_alive: bool


class RequestReader:
    """Collects what a client sends. After an exception no further request can be taken."""

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._received = bytearray()
        self._complete: deque[Request] = deque()
        self._refusal: HTTPException | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._is_begun = False
        self._begin()

    def _begin(self) -> None:
        self.has_head = False
        self._is_begun = False
        self._expects_continue = False
        self._url = bytearray()
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self._wire_bytes = 0  # of the head, then of the body

    @property
    def is_idle(self) -> bool:
        """True while no byte of the next request has arrived."""
        return not self._is_begun

    @property
    def size(self) -> int:
        """Number of bytes in memory."""
        waiting = sum(len(request.body) for request in self._complete)
        return len(self._received) + len(self._body) + waiting

    @property
    def origin(self) -> str | None:
        """The Origin header of the present request, if it has arrived."""
        found = (value for name, value in self._headers if name.lower() == b"origin")
        return next((value.decode("latin-1") for value in found), None)

    def add(self, data: bytes) -> None:
        """Append received bytes."""
        self._received += data

    def take_request(self) -> Request | None:
        """Return the next request and forget it; None while it is incomplete.

        Raises `HTTPException` for a request that cannot or may not be read to its end.
        """
        start = 0
        while not self._complete and self._refusal is None and start < len(self._received):
            start += self._parse(bytes(self._received[start : start + _STEP_BYTES]))
        del self._received[:start]
        if self._complete:
            return self._complete.popleft()
        if self._refusal is not None:
            raise self._refusal
        return None

    def take_expectation(self) -> bool:
        """Return True once for a request whose client waits for `100 Continue`."""
        expects, self._expects_continue = self._expects_continue, False
        return expects

    def _parse(self, data: bytes) -> int:
        """Parse the next bytes and return how many belong to HTTP requests."""
        had_head = self.has_head
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # No other protocol is spoken here, so HTTP goes on behind the request.
            self._parser = httptools.HttpRequestParser(self)
            return int(upgrade.args[0])
        except httptools.HttpParserError:
            self._refuse(BadRequest())
        if self._is_begun and self.has_head == had_head:
            self._wire_bytes += len(data)
            self._check_size()
        return len(data)

    def _check_size(self) -> None:
        if not self.has_head:
            if len(self._url) > MAX_URL_BYTES:
                self._refuse(RequestURITooLarge())
            elif self._wire_bytes > MAX_HEAD_BYTES:
                self._refuse(RequestHeaderFieldsTooLarge())
        elif self._wire_bytes - len(self._body) > _MAX_FRAMING_BYTES + len(self._body):
            self._refuse(BadRequest())

    def _refuse(self, refusal: HTTPException) -> None:
        self._refusal = self._refusal or refusal

    # The parser calls what follows.

    def on_message_begin(self) -> None:
        """Note that a request has begun."""
        self._is_begun = True

    def on_url(self, url: bytes) -> None:
        """Append a part of the URL."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Append a header; ignore it behind the body."""
        if self.has_head:
            return
        self._headers.append((name, value))
        if len(name) + len(value) > MAX_FIELD_BYTES or len(self._headers) > MAX_FIELDS:
            self._refuse(RequestHeaderFieldsTooLarge())

    def on_headers_complete(self) -> None:
        """Check what the headers announce."""
        self.has_head = True
        self._wire_bytes = 0
        if len(self._url) > MAX_URL_BYTES:
            self._refuse(RequestURITooLarge())
        for name, value in self._headers:
            match name.lower():
                case b"content-length" if int(value) > self._max_body_bytes:
                    self._refuse(RequestEntityTooLarge())
                case b"transfer-encoding" if value.lower() != b"chunked":
                    self._refuse(UnknownCoding())
                case b"expect" if value.lower() != b"100-continue":
                    self._refuse(ExpectationFailed())
                case b"expect":
                    self._expects_continue = True

    def on_body(self, data: bytes) -> None:
        """Append a part of the body."""
        self._body += data
        if len(self._body) > self._max_body_bytes:
            self._refuse(RequestEntityTooLarge())

    def on_message_complete(self) -> None:
        """Keep the request for `take_request`."""
        if self._refusal is None:
            request = Request(
                method=self._parser.get_method().decode("ascii"),
                target=bytes(self._url),
                version=self._parser.get_http_version(),
                headers=tuple(self._headers),
                body=bytes(self._body),
                keeps_alive=self._parser.should_keep_alive(),
            )
            self._complete.append(request)
            self._begin()
