"""HTTP/1.1 for a gateway: whole messages from h11, and connections to the server behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import h11

HEAD_BYTES = 1 << 20
"""Filters stand in the target of a request, with up to some thousand values."""

HOP_HEADERS = (b"connection", b"expect", b"keep-alive", b"transfer-encoding")

IDLE_SECONDS = 20
"""PostgREST closes an idle connection after 30 seconds or more; a request must not meet that."""

Headers = list[tuple[bytes, bytes]]


class Request(NamedTuple):
    """A whole request; header names are in lower case."""

    method: bytes
    target: bytes
    headers: Headers
    body: bytes = b""

    def header(self, name: bytes) -> bytes:
        """Return the first value of a header, empty when it is missing."""
        return next((value for found, value in self.headers if found == name), b"")


class Reply(NamedTuple):
    """A whole answer; header names are in lower case."""

    status: int
    headers: Headers
    body: bytes = b""


class Wire:
    """One end of a connection: collects what arrives into messages, and frames messages."""

    def __init__(self, role: type[h11.CLIENT] | type[h11.SERVER]) -> None:
        self._http = h11.Connection(role, max_incomplete_event_size=HEAD_BYTES)
        self._head: h11.Request | h11.Response | None = None
        self._body = bytearray()

    def receive(self, data: bytes) -> None:
        """Take what arrived."""
        self._http.receive_data(data)

    def next_request(self) -> Request | None:
        """Return the next request, None until it is complete."""
        if not self._collect():
            return None
        assert isinstance(self._head, h11.Request)
        head = self._head
        return Request(head.method, head.target, list(head.headers), self._take_body())

    def next_reply(self) -> Reply | None:
        """Return the answer, None until it is complete."""
        if not self._collect():
            return None
        assert isinstance(self._head, h11.Response)
        return Reply(self._head.status_code, list(self._head.headers), self._take_body())

    def _collect(self) -> bool:
        while not isinstance(event := self._http.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Request | h11.Response):
                self._head = event
            elif isinstance(event, h11.Data):
                self._body += event.data
            elif not isinstance(event, h11.InformationalResponse):
                return False
        return True

    def _take_body(self) -> bytes:
        body = bytes(self._body)
        self._body.clear()
        return body

    @property
    def awaits_continue(self) -> bool:
        """True when the client sends its body only after `100 Continue`."""
        return self._http.they_are_waiting_for_100_continue

    def encode_continue(self) -> bytes:
        """Return the answer that lets a client send its body."""
        return self._encode(h11.InformationalResponse(status_code=100, headers=[]))

    def encode_request(self, request: Request) -> bytes:
        """Return a request as it is sent."""
        headers = _end_to_end(request.headers)
        if request.body:
            headers = _with_length(headers, request.body)
        head = h11.Request(method=request.method, target=request.target, headers=headers)
        return self._encode(head, h11.Data(data=request.body), h11.EndOfMessage())

    def encode_reply(self, reply: Reply) -> bytes:
        """Return an answer as it is sent. An answer to HEAD keeps the length that it names."""
        headers = _end_to_end(reply.headers)
        if reply.body:
            headers = _with_length(headers, reply.body)
        reason = HTTPStatus(reply.status).phrase.encode()
        head = h11.Response(status_code=reply.status, headers=headers, reason=reason)
        return self._encode(head, h11.Data(data=reply.body), h11.EndOfMessage())

    def _encode(self, *events: h11.Event) -> bytes:
        return b"".join(self._http.send(event) or b"" for event in events)

    def start_next_cycle(self) -> bool:
        """Prepare for the next request; return False when the connection has to be closed."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True


def _end_to_end(headers: Headers) -> Headers:
    return [pair for pair in headers if pair[0] not in HOP_HEADERS]


def _with_length(headers: Headers, body: bytes) -> Headers:
    others = [pair for pair in headers if pair[0] != b"content-length"]
    return [*others, (b"content-length", b"%d" % len(body))]


class Upstream(asyncio.Protocol):
    """One kept-alive connection to a server, for one request at a time."""

    def __init__(self, idle: list[Upstream]) -> None:
        self._idle = idle
        self._wire = Wire(h11.CLIENT)
        self._is_head = False
        self.idle_since = 0.0
        self._answer: asyncio.Future[Reply] | None = None
        self._transport: asyncio.Transport | None = None

    async def exchange(self, request: Request) -> Reply:
        """Send a request and return the answer; raise `ConnectionError` when none comes."""
        assert self._transport is not None
        self._is_head = request.method == b"HEAD"
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(self._wire.encode_request(request))
        return await self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport that asyncio created."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Pass on the answer as soon as it is complete."""
        self._wire.receive(data)
        reply = self._wire.next_reply()
        if reply is not None and self._answer is not None:
            answer, self._answer = self._answer, None
            # PostgREST closes a connection shortly after it answered a HEAD on it.
            if self._wire.start_next_cycle() and not self._is_head:
                self.idle_since = asyncio.get_running_loop().time()
                self._idle.append(self)
            answer.set_result(reply)

    def connection_lost(self, _error: Exception | None) -> None:
        """Leave the pool, and fail the request that waits for an answer."""
        if self in self._idle:
            self._idle.remove(self)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the server is gone"))


class UpstreamPool:
    """Connections to a server on a Unix socket, opened when none is idle."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._idle: list[Upstream] = []

    async def exchange(self, request: Request) -> Reply:
        """Send a request and return the answer; raise `OSError` when the server is away."""
        loop = asyncio.get_running_loop()
        while self._idle:
            connection = self._idle.pop()
            if loop.time() - connection.idle_since < IDLE_SECONDS:
                return await connection.exchange(request)
        _, connection = await loop.create_unix_connection(
            lambda: Upstream(self._idle), str(self._socket)
        )
        return await connection.exchange(request)


def json_reply(status: int, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a JSON answer of the gateway itself, readable by pages of any origin."""
    content = b"" if body is None else json.dumps(body).encode()
    all_headers = {
        "content-type": "application/json",
        "content-length": str(len(content)),
        "access-control-allow-origin": "*",
        **(headers or {}),
    }
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in all_headers.items()]
    return Reply(status, pairs, content)
