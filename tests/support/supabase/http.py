"""The least HTTP/1.1 a gateway needs: messages cut out of a stream, and passed on unread."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

BODYLESS = (b" 204 ", b" 304 ")

IDLE_SECONDS = 20
"""PostgREST closes a connection after thirty or more; no request must meet that on its way."""


class Message(NamedTuple):
    """A request or an answer: its lines up to the body, and the body as it travels."""

    lines: list[bytes]
    body: bytes

    def header(self, name: bytes) -> bytes:
        """Return a header's value, empty when it is not there; the name in lower case."""
        prefix = name + b":"
        for line in self.lines:
            if line[: len(prefix)].lower() == prefix:
                return line[len(prefix) :].strip()
        return b""

    def join(self) -> bytes:
        """Return the message as it is sent."""
        return b"\r\n".join((*self.lines, b"", self.body))


class MessageReader:
    """Cuts what arrives on a connection into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lines: list[bytes] = []
        self._position = 0
        self._length: int | None = 0

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        self._buffer += data

    def take(self, *, bodyless: bool = False) -> Message | None:
        """Return the next message, None until it is there as a whole.

        An answer to HEAD is `bodyless`, whatever length it names.
        """
        if not self._lines and not self._take_head(bodyless=bodyless):
            return None
        end = self._chunked_end() if self._length is None else self._length
        if end is None or len(self._buffer) < end:
            return None
        message = Message(self._lines, bytes(self._buffer[:end]))
        del self._buffer[:end]
        self._lines = []
        return message

    @property
    def expects_continue(self) -> bool:
        """Return True when a client waits for `100 Continue` before it sends the body."""
        waits = bool(self._lines) and not self._buffer
        return waits and bool(Message(self._lines, b"").header(b"expect"))

    def _take_head(self, *, bodyless: bool) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        self._lines = bytes(self._buffer[:end]).split(b"\r\n")
        del self._buffer[: end + 4]
        self._position = 0
        head = Message(self._lines, b"")
        if bodyless or any(code in self._lines[0] for code in BODYLESS):
            self._length = 0
        elif head.header(b"transfer-encoding").lower() == b"chunked":
            self._length = None
        else:
            self._length = int(head.header(b"content-length") or 0)
        return True

    def _chunked_end(self) -> int | None:
        while (line_end := self._buffer.find(b"\r\n", self._position)) >= 0:
            size = int(self._buffer[self._position : line_end].split(b";")[0], 16)
            chunk_end = line_end + 2 + size + 2
            if len(self._buffer) < chunk_end:
                return None
            self._position = chunk_end
            if size == 0:
                return chunk_end
        return None


class Upstream(asyncio.Protocol):
    """One kept-alive connection to a server, for one request at a time."""

    def __init__(self, idle: list[Upstream]) -> None:
        self._idle = idle
        self._reader = MessageReader()
        self._bodyless = False
        self.idle_since = 0.0
        self._answer: asyncio.Future[Message] | None = None
        self._transport: asyncio.Transport | None = None

    async def exchange(self, request: Message) -> Message:
        """Send a request and return the answer; raise `ConnectionError` when none comes."""
        assert self._transport is not None
        self._bodyless = request.lines[0].startswith(b"HEAD ")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request.join())
        return await self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport that asyncio made."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer as soon as the answer is complete."""
        self._reader.feed(data)
        message = self._reader.take(bodyless=self._bodyless)
        if message is not None and self._answer is not None:
            answer, self._answer = self._answer, None
            # PostgREST closes a connection that it has answered a HEAD on, a moment later.
            if not self._bodyless:
                self.idle_since = asyncio.get_running_loop().time()
                self._idle.append(self)
            answer.set_result(message)

    def connection_lost(self, _error: Exception | None) -> None:
        """Be of no more use, and say so to who waits."""
        if self in self._idle:
            self._idle.remove(self)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the server is gone"))


class UpstreamPool:
    """Connections to a server on a Unix socket, made when there is no idle one."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._idle: list[Upstream] = []

    async def exchange(self, request: Message) -> Message:
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


def reply(status: int, body: Any = None, headers: Iterable[str] = ()) -> Message:
    """Return an answer of our own, in JSON, that any page may read."""
    data = b"" if body is None else json.dumps(body).encode()
    lines = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(data)}",
        "Access-Control-Allow-Origin: *",
        *headers,
    )
    return Message([line.encode() for line in lines], data)
