"""One client's connection: what has arrived, what is still to be sent, and until when.

Reading and writing never wait. A client may be slow for as long as its deadline allows, and costs
memory but no thread.
"""

from __future__ import annotations

import io
import socket
import struct
from dataclasses import dataclass
from enum import Enum
from typing import Any

from gunicorn.workers.gthread import TConn  # type: ignore[import-untyped]

from utils.server.request_buffer import RequestBuffer, find_origin

READ_BYTES = 65_536
KEEP_ALIVE_SECONDS = 75
# For the client to read the last response before the connection is closed.
LINGER_SECONDS = 2
# Slower transfers are cut off once the time of their head, body or response is over.
BYTES_PER_SECOND = 10_000

_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of a connection.

    A head must arrive within `read_seconds`; a body within `read_seconds` and a second for each
    `BYTES_PER_SECOND`; a response must be read within `write_seconds` and the same for each byte.
    """

    max_body_bytes: int
    read_seconds: float
    write_seconds: float


class State(Enum):
    """The state of a connection."""

    IDLE = "no byte of the next request has arrived"
    HEAD = "the head of a request is incomplete"
    BODY = "the body of a request is incomplete"
    ANSWERING = "a thread works on a request"
    WRITING = "the client has not yet read the response"
    CLOSING = "the client has the whole response"


class Connection(TConn):  # type: ignore[misc]
    """A connection in the form that gunicorn's thread worker expects.

    gunicorn reads requests from `sock` and writes responses to it; `client_socket` is the socket.
    """

    def __init__(
        self, cfg: Any, client_socket: socket.socket, client: Any, server: Any,
        limits: ConnectionLimits, now: float,
    ) -> None:  # fmt: skip
        super().__init__(cfg, client_socket, client, server)
        self.client_socket = client_socket
        self.sock = BufferedSocket(client_socket)
        self.data_ready = True
        self.buffer = RequestBuffer(limits.max_body_bytes)
        self.keep = True
        self.watched = 0
        self.state = State.IDLE
        self.read_at = now  # when the client last read a part of a response that had to wait
        self._limits = limits
        self._since = now
        self._transferred = 0

    def enter(self, state: State, now: float) -> None:
        """Change the state; the deadline of the new state begins unless it is the same."""
        if state is not self.state:
            self.state = state
            self._since = now
            self._transferred = 0

    def receive(self) -> bool:
        """Read what has arrived; return False at the end. Raises `OSError`."""
        data = self.client_socket.recv(READ_BYTES)
        self.buffer.add(data)
        self._transferred += len(data)
        return bool(data)

    def discard(self) -> bool:
        """Read and forget what has arrived; return False at the end. Raises `OSError`."""
        data = self.client_socket.recv(READ_BYTES)
        self._transferred += len(data)
        return bool(data) and self._transferred <= self._limits.max_body_bytes

    def send(self, now: float) -> bool:
        """Send what fits; return True when nothing is left. Raises `OSError`."""
        sent = self.sock.flush()
        self._transferred += sent
        if sent:
            self.read_at = now
        return not self.sock.unsent_bytes

    def age(self, now: float) -> float:
        """Return the seconds since the state changed."""
        return now - self._since

    def is_late(self, now: float) -> bool:
        """Tell whether the deadline of the state is over."""
        read, write = self._limits.read_seconds, self._limits.write_seconds
        earned = self._transferred / BYTES_PER_SECOND
        seconds = {
            State.IDLE: KEEP_ALIVE_SECONDS,
            State.HEAD: read,
            State.BODY: read + earned,
            State.WRITING: write + earned,
            State.CLOSING: LINGER_SECONDS,
        }.get(self.state)
        return seconds is not None and self.age(now) > seconds

    def close(self, graceful: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """Close the socket at once."""
        if self.state is State.WRITING:
            # The system forgets what the client has not read.
            self.client_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.client_socket.close()


class BufferedSocket:
    """The socket that gunicorn sees: reads one whole request, and keeps what cannot be sent yet."""

    def __init__(self, client_socket: socket.socket) -> None:
        self._socket = client_socket
        self._request = io.BytesIO()
        self._unsent: list[memoryview] = []

    @property
    def unsent_bytes(self) -> int:
        """Number of bytes that the client has not yet read."""
        return sum(map(len, self._unsent))

    @property
    def origin(self) -> str | None:
        """The Origin header of the request."""
        return find_origin(self._request.getvalue())

    def load(self, request: bytes) -> None:
        """Set the request that is read next."""
        self._request = io.BytesIO(request)

    def recv(self, size: int) -> bytes:
        """Read a part of the request; nothing is left at its end."""
        return self._request.read(size)

    def sendall(self, data: bytes) -> None:
        """Send as much as fits now and keep the rest for `flush`. Raises `OSError`."""
        if self._unsent:
            self._unsent.append(memoryview(data))
            return
        sent = self._send(data)
        if sent < len(data):
            self._unsent.append(memoryview(data)[sent:])

    def send(self, data: bytes) -> int:
        """Send nothing: gunicorn sends only `100 Continue` in this way, which was sent before."""
        return len(data)

    def flush(self) -> int:
        """Send what fits of the rest; return the number of bytes. Raises `OSError`."""
        total = 0
        while self._unsent:
            sent = self._send(self._unsent[0])
            total += sent
            if sent < len(self._unsent[0]):
                self._unsent[0] = self._unsent[0][sent:]
                break
            del self._unsent[0]
        return total

    def _send(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001
        """Do nothing: this socket never blocks."""

    def shutdown(self, how: int) -> None:
        """Do nothing: the worker closes the connection after the rest was sent."""

    def settimeout(self, seconds: float | None) -> None:
        """Do nothing: this socket never blocks."""

    def close(self) -> None:
        """Do nothing: the worker closes the connection after the rest was sent."""
