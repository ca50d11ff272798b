"""Serves HTTP/1.1 on loopback with control of each write and of the connection.

h11 parses and frames the messages. One task per connection and no thread, so that many hundred
streams can be open at once. A client that disconnects ends the stream that is being written to it.
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

import h11

HEAD_BYTES = 1 << 18
READ_BYTES = 1 << 16


class Aborted(Exception):
    """Drops the connection without another byte."""


class Wire:
    """The messages of one connection, between h11 and the socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)

    async def next_event(self) -> h11.Event | type[h11.PAUSED]:
        """Return the next part of a request; raise `ConnectionError` when none can follow."""
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    self._writer.write(self.encode(go_on))
                self._http.receive_data(await self._reader.read(READ_BYTES))
        except h11.RemoteProtocolError as error:
            raise ConnectionResetError(str(error)) from error
        assert not isinstance(event, type) or event is h11.PAUSED
        return event

    def encode(self, *events: h11.Event) -> bytes:
        """Return parts of an answer as they are sent."""
        return b"".join(self._http.send(event) or b"" for event in events)

    def start_next_cycle(self) -> bool:
        """Prepare for the next request; return False when the connection has to be closed."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True


class Body:
    """A request's body, read whole or piece by piece."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives."""
        while isinstance(event := await self._wire.next_event(), h11.Data):
            yield bytes(event.data)

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
    """The body after it was read whole."""

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
        """Return an answer with a JSON body."""
        content = json.dumps(value).encode()
        return cls(status, content, {"Content-Type": "application/json", **(headers or {})})

    @classmethod
    def error(cls, status: int, message: str, headers: dict[str, str] | None = None) -> Reply:
        """Return an error in the format of E2B's API: `{"code": int, "message": str}`."""
        return cls.of(status, {"code": status, "message": message}, headers)


@dataclass(slots=True)
class Stream:
    """An answer that is written piece by piece; each piece becomes a chunk."""

    pieces: AsyncGenerator[bytes]
    content_type: str

    async def discard(self) -> None:
        """Close the generator. It is started first: only then does closing it run its cleanup."""
        await anext(self.pieces)
        await self.pieces.aclose()


@dataclass(slots=True)
class Pace:
    """Slows an answer down: writes of `piece_bytes` bytes, with `seconds` between them."""

    piece_bytes: int = 0
    seconds: float = 0.0


Handler = Callable[[Request, "Connection"], Awaitable[None]]


class Connection:
    """One client's connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler
    ) -> None:
        self._wire = Wire(reader, writer)
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
                self.closing |= not self._wire.start_next_cycle()
        except ConnectionError:
            return
        except Aborted:
            self.abort()
        finally:
            self._writer.close()

    async def _next_request(self) -> Request | None:
        event = await self._wire.next_event()
        if not isinstance(event, h11.Request):
            return None
        target = event.target.decode("latin-1")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        method = event.method.decode("latin-1")
        return Request(method, target, headers, Body(self._wire), unquote(parts.path), query)

    async def send(self, reply: Reply, pace: Pace | None = None) -> None:
        """Write an answer of known length."""
        headers = dict(reply.headers)
        if reply.status != HTTPStatus.NO_CONTENT:
            headers["Content-Length"] = str(len(reply.content))
        head = _head(reply.status, headers)
        content = h11.Data(data=reply.content)
        await self._write(self._wire.encode(head, content, h11.EndOfMessage()), pace)

    async def send_stream(self, stream: Stream, pace: Pace | None = None) -> None:
        """Write a chunked answer; return when it is complete or the client has disconnected."""
        headers = {"Content-Type": stream.content_type, "Transfer-Encoding": "chunked"}
        try:
            # Started before anything can fail, so that its cleanup always runs.
            first = await anext(stream.pieces)
            self._streaming = True
            head = _head(HTTPStatus.OK, headers)
            await self._write(self._wire.encode(head, h11.Data(data=first)), pace)
            async for piece in stream.pieces:
                await self._write(self._wire.encode(h11.Data(data=piece)), pace)
            await self._write(self._wire.encode(h11.EndOfMessage()), None)
        except asyncio.CancelledError:
            # Only `lost` and the end of the server cancel; in both cases nobody reads any more.
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
        """End the stream to a client that disconnected; any other request is still carried out."""
        self.closing = True
        if self._streaming:
            self.task.cancel()

    def abort(self) -> None:
        """Drop the connection at once."""
        self.closing = True
        self._writer.transport.abort()

    def close(self) -> None:
        """Abort the connection and cancel its task. A task that never ran would not close it."""
        self.abort()
        self.task.cancel()


class _Protocol(asyncio.StreamReaderProtocol):
    """Tells the connection that its client has disconnected, even while nothing is written."""

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
    """Listens on loopback. The listener can be closed and opened again on the same port."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._listener: asyncio.Server | None = None
        # Bound without listening: nobody else gets the port while the listener is closed.
        self._reservation = socket.socket()
        self._reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.connections: set[Connection] = set()
        self.port = 0

    async def open(self, port: int = 0) -> None:
        """Listen; port 0 takes a free port at the first call."""
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
        """Close the listener and every connection."""
        self.close_listener()
        self._reservation.close()
        # A connection that was accepted just now is registered in the next rounds of the loop.
        for _ in range(3):
            await asyncio.sleep(0)
        while tasks := [connection.task for connection in self.connections]:
            for connection in tuple(self.connections):
                connection.close()
            await asyncio.wait(tasks)


def _head(status: int, headers: dict[str, str]) -> h11.Response:
    return h11.Response(
        status_code=status,
        reason=HTTPStatus(status).phrase.encode(),
        headers=list(headers.items()),
    )
