"""The least HTTP/1.1 that the fakes need: keep-alive, both body framings, chunked replies.

One task per connection and no thread, so that many hundred streams can be open at once. A
connection says when its client has gone, which ends the stream it was writing.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

HEAD_BYTES = 1 << 18


class Aborted(Exception):
    """The connection is to be dropped without another byte."""


class Body:
    """A request's body, read whole or piece by piece."""

    def __init__(self, reader: asyncio.StreamReader, headers: dict[str, str]) -> None:
        self._reader = reader
        self._chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        self._length = int(headers.get("content-length") or 0)
        self.finished = not self._chunked and self._length == 0

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives."""
        if self.finished:
            return
        if not self._chunked:
            data = await self._reader.readexactly(self._length)
            self.finished = True
            yield data
            return
        while size := int((await self._reader.readuntil(b"\n")).split(b";")[0], 16):
            data = await self._reader.readexactly(size)
            await self._reader.readexactly(2)
            yield data
        while (await self._reader.readline()).strip():
            continue
        self.finished = True

    async def read(self) -> bytes:
        """Return the whole body."""
        return b"".join([piece async for piece in self.pieces()])


@dataclass(slots=True)
class Request:
    """One request; header names are in lower case, `body` is read on demand."""

    method: str
    target: str
    headers: dict[str, str]
    body: Body
    path: str = ""
    query: dict[str, str] = field(default_factory=dict)
    content: bytes = b""
    """The body, once it was read whole."""

    def json(self) -> Any:
        """Return the body as JSON; an empty one is an empty object."""
        return json.loads(self.content or b"{}")


@dataclass(slots=True)
class Reply:
    """An answer of known length."""

    status: int
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, status: int, value: Any, headers: dict[str, str] | None = None) -> Reply:
        """Make an answer with a JSON body."""
        content = json.dumps(value).encode()
        return cls(status, content, {"Content-Type": "application/json", **(headers or {})})

    @classmethod
    def error(cls, status: int, message: str, headers: dict[str, str] | None = None) -> Reply:
        """Make an error as E2B's API words it: `{"code": int, "message": str}`."""
        return cls.of(status, {"code": status, "message": message}, headers)


@dataclass(slots=True)
class Stream:
    """An answer that is written piece by piece; each piece becomes a chunk."""

    pieces: AsyncGenerator[bytes]
    content_type: str

    async def discard(self) -> None:
        """Let go of what the stream holds, which only a generator that has begun does."""
        await anext(self.pieces)
        await self.pieces.aclose()


@dataclass(slots=True)
class Pace:
    """The pace of a body: writes of `piece_bytes` with `seconds` between them."""

    piece_bytes: int = 0
    seconds: float = 0.0


Handler = Callable[[Request, "Connection"], Awaitable[None]]


class Connection:
    """One client's connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._handler = handler
        self.busy = False
        self._streaming = False
        self.closing = False
        self.task = asyncio.get_running_loop().create_task(self._serve())

    async def _serve(self) -> None:
        try:
            while not self.closing and (request := await self._next_request()):
                self.busy = True
                await self._handler(request, self)
                self.busy = False
                self.closing |= not request.body.finished
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError):
            return
        except Aborted:
            self.abort()
        finally:
            self._writer.close()

    async def _next_request(self) -> Request | None:
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, target, _version = first.split(" ", 2)
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        body = Body(self._reader, headers)
        return Request(method, target, headers, body, unquote(parts.path), query)

    async def send(self, reply: Reply, pace: Pace | None = None) -> None:
        """Write an answer of known length."""
        headers = dict(reply.headers)
        if reply.status != HTTPStatus.NO_CONTENT:
            headers["Content-Length"] = str(len(reply.content))
        await self._write(_head(reply.status, headers) + reply.content, pace)

    async def send_stream(self, stream: Stream, pace: Pace | None = None) -> None:
        """Write a chunked answer; returns when it is complete or the client has gone."""
        headers = {"Content-Type": stream.content_type, "Transfer-Encoding": "chunked"}
        try:
            # Begun before anything can fail, so that its end is always run.
            first = await anext(stream.pieces)
            self._streaming = True
            await self._write(_head(HTTPStatus.OK, headers) + _chunk(first), pace)
            async for piece in stream.pieces:
                await self._write(_chunk(piece), pace)
            await self._write(b"0\r\n\r\n", None)
        except asyncio.CancelledError:
            # Only `lost` and the end of the server cancel; either way nobody is listening.
            self.closing = True
        finally:
            self._streaming = False
            await stream.pieces.aclose()

    async def _write(self, data: bytes, pace: Pace | None) -> None:
        size = pace.piece_bytes if pace and pace.piece_bytes else len(data)
        for start in range(0, len(data), size or 1):
            self._writer.write(data[start : start + size])
            await self._writer.drain()
            if pace and pace.seconds:
                await asyncio.sleep(pace.seconds)

    def lost(self) -> None:
        """Handle a client that has disconnected: end its stream, finish any other request."""
        self.closing = True
        if self._streaming:
            self.task.cancel()

    def abort(self) -> None:
        """Drop the connection at once."""
        self.closing = True
        self._writer.transport.abort()

    def close(self) -> None:
        """End the connection with all it does; a task that never ran would not close it."""
        self.abort()
        self.task.cancel()


class _Protocol(asyncio.StreamReaderProtocol):
    """Tells the connection when its client has gone, also when nothing is being written."""

    def __init__(self, handler: Handler, connections: set[Connection]) -> None:
        super().__init__(asyncio.StreamReader(HEAD_BYTES), self._connected)
        self._handler = handler
        self._connections = connections
        self._connection: Connection | None = None

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer, self._handler)
        self._connection = connection
        self._connections.add(connection)
        connection.task.add_done_callback(lambda _task: self._connections.discard(connection))

    def eof_received(self) -> bool:
        super().eof_received()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._connection:
            self._connection.lost()


class HttpServer:
    """Listens on loopback; the listener can be closed and opened again on the same port."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._listener: asyncio.Server | None = None
        # Bound and not listening: nobody else is given the port while the listener is closed.
        self._reservation = socket.socket()
        self._reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.connections: set[Connection] = set()
        self.port = 0

    async def open(self, port: int = 0) -> None:
        """Listen; port 0 takes a free one, once."""
        if not self.port:
            self._reservation.bind(("127.0.0.1", port))
            self.port = self._reservation.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: _Protocol(self._handler, self.connections),
            "127.0.0.1",
            self.port,
            backlog=1024,
        )

    def close_listener(self) -> None:
        """Refuse new connections and drop the idle ones."""
        if self._listener:
            self._listener.close()
            self._listener = None
        for connection in tuple(self.connections):
            if not connection.busy:
                connection.abort()

    async def close(self) -> None:
        """End the listener and every connection."""
        self.close_listener()
        self._reservation.close()
        # What was accepted a moment ago becomes a connection in the next rounds of the loop.
        for _ in range(3):
            await asyncio.sleep(0)
        while tasks := [connection.task for connection in self.connections]:
            for connection in tuple(self.connections):
                connection.close()
            await asyncio.wait(tasks)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
