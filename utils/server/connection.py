"""One client's connection: what has arrived, what is still to be sent, and until when.

Reading and writing never wait. A client may be slow for as long as its deadline allows, and costs
memory but no thread.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Protocol, cast

import structlog
from werkzeug.exceptions import HTTPException, InternalServerError, RequestTimeout

from utils.server.answers import LAST_CHUNK, Answer, chunk, is_chunked
from utils.server.request_reader import Request, RequestReader
from utils.server.request_threads import AdaptiveThreadPool
from utils.server.streams import discard_stream, send_stream
from utils.server.wsgi_bridge import WsgiBridge
from utils.streams.waiting import HeldBack

KEEP_ALIVE_SECONDS = 75
# For the client to read the last response before the connection is closed.
LINGER_SECONDS = 2
# Slower transfers are cut off once the time of their head, body or response is over.
BYTES_PER_SECOND = 10_000

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)

log = structlog.get_logger(__name__)


class State(Enum):
    """The state of a connection."""

    IDLE = "no byte of the next request has arrived"
    HEAD = "the head of a request is incomplete"
    BODY = "the body of a request is incomplete"
    ANSWERING = "a thread works on a request"
    WAITING = "the answer is held back until something changes"
    WRITING = "the client has not yet read the response"
    STREAMING = "the response is made bit by bit"
    CLOSING = "the client has the whole response"
    CLOSED = "the connection is gone"


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of the connections.

    A head must arrive within `read_seconds`; a body within `read_seconds` and a second for each
    `BYTES_PER_SECOND`; a response must be read within `write_seconds` and the same for each byte.
    """

    most: int
    max_body_bytes: int
    read_seconds: float
    write_seconds: float


class Surroundings(Protocol):
    """The server and the other connections, as one connection sees them."""

    limits: ConnectionLimits
    bridge: WsgiBridge
    threads: AdaptiveThreadPool
    is_draining: bool

    def add(self, connection: Connection, /) -> None:
        """Note a new connection."""

    def move_to_end(self, connection: Connection, /) -> None:
        """Note that a request of a connection was answered."""

    def discard(self, connection: Connection, /) -> None:
        """Forget a connection."""

    def has_memory(self, connection: Connection, /) -> bool:
        """Tell whether a connection may receive more of its request."""

    def limit_unsent(self, connection: Connection, /) -> None:
        """Note that a client does not read as fast as it is sent to."""


class Connection(asyncio.Protocol):
    """The protocol of one connection; all its methods run on the event loop."""

    def __init__(self, all_open: Surroundings) -> None:
        self.state = State.IDLE
        self.read_at = time.monotonic()  # when the client last read what had to wait
        self._all = all_open
        self._limits = all_open.limits
        self._reader = RequestReader(self._limits.max_body_bytes)
        self._request: Request | None = None  # that is being answered
        self._keep_alive = True
        self._is_at_end = False  # the client sends nothing more
        self._since = self.read_at
        self._transferred = 0
        self._unsent = 0
        self._flushed = asyncio.Event()
        self._flushed.set()
        self._stream: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport

    # The event loop calls what follows.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        self._transport = cast("asyncio.Transport", transport)
        # So `pause_writing` is called as soon as something is left unsent.
        self._transport.set_write_buffer_limits(high=0)
        self._client = _address(self._transport, "peername")
        self._server = _address(self._transport, "sockname")
        self._all.add(self)

    def data_received(self, data: bytes) -> None:
        """Collect what the client sends; answer when a request is whole."""
        if self.state in (State.STREAMING, State.CLOSING):
            self._transferred += len(data)
            if self.state is State.CLOSING and self._transferred > self._limits.max_body_bytes:
                self.drop()
            return
        self._reader.add(data)
        if self.state in (State.IDLE, State.HEAD, State.BODY):
            self._transferred += len(data)
            if self._all.has_memory(self):
                self._proceed()
        else:
            # Further requests wait until the present one is answered.
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Return True, which keeps the connection open, if an answer is still to be sent."""
        self._is_at_end = True
        if self.state is State.STREAMING:
            self.drop()
        elif self.state is State.WAITING:
            self.end_stream()
        return self.state in (State.ANSWERING, State.WAITING, State.WRITING)

    def pause_writing(self) -> None:
        """Note that the client does not read as fast as it is sent to."""
        self._flushed.clear()
        self.read_at = time.monotonic()
        self._unsent = self.unsent_bytes
        self._all.limit_unsent(self)

    def resume_writing(self) -> None:
        """Go on when the client has read everything."""
        self._flushed.set()
        self.read_at = time.monotonic()
        if self.state is State.WRITING:
            self._finish_answer()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Forget the connection and end its stream."""
        self.state = State.CLOSED
        self._flushed.set()
        self._all.discard(self)
        self.end_stream()

    # `Surroundings` call what follows.

    @property
    def buffered_bytes(self) -> int:
        """Number of received bytes in memory, until they are answered."""
        return self._reader.size + (len(self._request.body) if self._request else 0)

    @property
    def unsent_bytes(self) -> int:
        """Number of bytes that the client has not yet read."""
        return self._transport.get_write_buffer_size()

    def age(self, now: float) -> float:
        """Return the seconds since the state changed."""
        return now - self._since

    def is_late(self, now: float) -> bool:
        """Tell whether the deadline of the state is over. To be called often."""
        read, write = self._limits.read_seconds, self._limits.write_seconds
        if not self._flushed.is_set():
            self._note_progress(now)
        if self.state is State.STREAMING:
            return not self._flushed.is_set() and now - self.read_at > write
        earned = self._transferred / BYTES_PER_SECOND
        seconds = {
            State.IDLE: KEEP_ALIVE_SECONDS,
            State.HEAD: read,
            State.BODY: read + earned,
            State.WRITING: write + earned,
            State.CLOSING: LINGER_SECONDS,
        }.get(self.state)
        return seconds is not None and self.age(now) > seconds

    def expire(self) -> None:
        """End what took too long: refuse an incomplete request, otherwise close."""
        if self.state in (State.HEAD, State.BODY):
            self.refuse(RequestTimeout())
        else:
            self.drop()

    def refuse(self, refusal: HTTPException) -> None:
        """Answer with an error and close the connection."""
        self._keep_alive = False
        origin = self._reader.origin
        self._submit(partial(self._all.bridge.refuse, refusal, origin, self._client))

    def end_stream(self) -> None:
        """End a stream, after which the connection is closed, or the wait for an answer."""
        if self._stream is not None:
            self._stream.cancel()

    def drop(self) -> None:
        """Close the connection at once."""
        if self.unsent_bytes:
            # The system forgets what the client has not read.
            client_socket = self._transport.get_extra_info("socket")
            client_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._all.discard(self)
        self._transport.abort()

    def _enter(self, state: State) -> None:
        # The deadline of the new state begins unless it is the same.
        if state is not self.state:
            self.state = state
            self._since = time.monotonic()
            self._transferred = 0

    def _note_progress(self, now: float) -> None:
        unsent = self.unsent_bytes
        if unsent < self._unsent:
            self.read_at = now
            if self.state is State.WRITING:
                self._transferred += self._unsent - unsent
        self._unsent = unsent

    def _proceed(self) -> None:
        try:
            self._request = self._reader.take_request()
        except HTTPException as refusal:
            self.refuse(refusal)
            return
        if self._request is not None:
            self._keep_alive = self._request.keeps_alive
            self._answer(self._request, may_wait=True)
            return
        if self._is_at_end:
            self.drop()
            return
        state = State.BODY if self._reader.has_head else State.HEAD
        self._enter(State.IDLE if self._reader.is_idle else state)
        self._transport.resume_reading()
        if self._reader.take_expectation():
            self._transport.write(_CONTINUE)

    def _answer(self, request: Request, *, may_wait: bool) -> None:
        answer = self._all.bridge.answer
        work = partial(answer, request, self._client, self._server, may_wait=may_wait)
        self._submit(work)

    def _submit(self, work: partial[Answer]) -> None:
        self._enter(State.ANSWERING)
        self._all.threads.submit(work, self._send)

    def _send(self, answer: Answer) -> None:
        if self.state is State.CLOSED:
            discard_stream(answer.body)
            return
        if isinstance(answer.body, HeldBack):
            self._wait(answer.body)
            return
        keep_alive = self._keep_alive = self._keep_alive and not self._all.is_draining
        try:
            if not isinstance(answer.body, bytes):
                self._start_stream(answer, answer.body)
                return
            response = answer.whole(self._request, keep_alive=keep_alive)
        except ValueError:
            log.exception("the response is malformed", action="http.failed")
            discard_stream(answer.body)
            self.refuse(InternalServerError())
            return
        self._enter(State.WRITING)
        self._transport.write(response)
        if self._flushed.is_set():
            self._finish_answer()

    def _finish_answer(self) -> None:
        self._all.move_to_end(self)
        self._request = None
        if self._keep_alive:
            self._proceed()
        elif not self._transport.is_closing():
            self._close_gently()

    def _close_gently(self) -> None:
        # What the client is still sending is read for a moment: a socket that is closed with unread
        # data makes the client's system throw the response away.
        self._enter(State.CLOSING)
        if self._is_at_end:
            self._transport.close()
            return
        self._transport.write_eof()
        self._transport.resume_reading()

    def _wait(self, body: HeldBack) -> None:
        self._enter(State.WAITING)
        self._stream = asyncio.get_running_loop().create_task(body.wait())
        self._stream.add_done_callback(self._answer_after_wait)
        if self._is_at_end or self._all.is_draining:
            self.end_stream()

    def _answer_after_wait(self, waited: asyncio.Task[None]) -> None:
        self._stream = None
        if not waited.cancelled() and (error := waited.exception()):
            log.error("a wait failed", action="http.stream_failed", exc_info=error)
        if self.state is State.WAITING and self._request is not None:
            self._answer(self._request, may_wait=False)

    def _start_stream(self, answer: Answer, body: AsyncIterable[bytes]) -> None:
        head = answer.head(self._request, keep_alive=False)
        self._enter(State.STREAMING)
        self._transport.write(head)
        self._transport.resume_reading()  # to see when the client is gone
        stream = self._run_stream(body, chunked=is_chunked(self._request))
        self._stream = asyncio.get_running_loop().create_task(stream)
        if self._is_at_end or self._all.is_draining:
            self.end_stream()

    async def _run_stream(self, body: AsyncIterable[bytes], *, chunked: bool) -> None:
        async def send(part: bytes) -> None:
            self._transport.write(chunk(part) if chunked else part)
            await self._flushed.wait()

        try:
            await send_stream(body, send)
        except Exception:
            log.exception("a stream failed", action="http.stream_failed")
            self.drop()
            return
        finally:
            self._stream = None
        if self.state is State.STREAMING:
            if chunked:
                self._transport.write(LAST_CHUNK)
            self._close_gently()


def _address(transport: asyncio.Transport, name: str) -> tuple[str, int]:
    address = transport.get_extra_info(name)
    return (str(address[0]), int(address[1])) if isinstance(address, tuple) else ("", 0)
