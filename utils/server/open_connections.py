"""All open connections: how many there may be, how much memory they use, and their deadlines."""

from __future__ import annotations

import asyncio
import time

from werkzeug.exceptions import ServiceUnavailable

from utils.server.connection import Connection, ConnectionLimits, State
from utils.server.request_threads import AdaptiveThreadPool
from utils.server.wsgi_bridge import WsgiBridge

# While stopping: time for a request on a connection that was just opened, and for slow clients.
STOP_PENDING_SECONDS = 2
STOP_WRITING_SECONDS = 5
# An idle connection may be closed for a new one after this time.
SPARED_SECONDS = 2
# Large requests in memory, in units of the largest body. The largest incomplete one goes first.
MAX_BUFFERED_BODIES = 4
# Responses in memory that clients have not read. Who has read nothing for longest goes first.
MAX_UNSENT_BYTES = 128_000_000

_LARGE_BYTES = 65_536
_CHECK_SECONDS = 0.25


class OpenConnections:
    """The connections of a server, in order of their last request, the oldest first."""

    def __init__(
        self, limits: ConnectionLimits, bridge: WsgiBridge, threads: AdaptiveThreadPool
    ) -> None:
        self.limits = limits
        self.bridge = bridge
        self.threads = threads
        self.is_draining = False
        self._open: dict[Connection, None] = {}
        self._large: set[Connection] = set()
        self._unread: set[Connection] = set()
        self._stopping_since = 0.0
        self.all_closed = asyncio.Event()

    def add(self, connection: Connection) -> None:
        """Add a connection; at the limit close the one that has been idle for longest."""
        self._open[connection] = None
        if len(self._open) >= self.limits.most:
            self._make_room(connection)

    def move_to_end(self, connection: Connection) -> None:
        """Note that a request of a connection was answered."""
        if self._open.pop(connection, self) is None:
            self._open[connection] = None
        self._large.discard(connection)

    def discard(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        self._open.pop(connection, None)
        self._large.discard(connection)
        self._unread.discard(connection)
        self._note_end()

    def has_memory(self, connection: Connection) -> bool:
        """Refuse the largest incomplete body at the limit; return False if it is this one."""
        if connection.buffered_bytes <= _LARGE_BYTES:
            return True
        self._large.add(connection)
        sizes = {one: one.buffered_bytes for one in self._large}
        if sum(sizes.values()) <= MAX_BUFFERED_BODIES * self.limits.max_body_bytes:
            return True
        incomplete = [one for one in sizes if one is connection or one.state is State.BODY]
        largest = max(incomplete, key=sizes.__getitem__)
        largest.refuse(ServiceUnavailable())
        return largest is not connection

    def limit_unsent(self, connection: Connection) -> None:
        """Note that a client reads slowly; at the limit drop who has read nothing for longest."""
        self._unread.add(connection)
        self._unread = {one for one in self._unread if one.unsent_bytes}
        unsent = sum(one.unsent_bytes for one in self._unread)
        while unsent > MAX_UNSENT_BYTES:
            slowest = min(self._unread, key=lambda one: one.read_at)
            self._unread.discard(slowest)
            unsent -= slowest.unsent_bytes
            slowest.drop()

    def _make_room(self, new: Connection) -> None:
        """Close the connection that has been idle for longest; one that follows a task comes last.

        The new one is closed if threads work for all others.
        """
        now = time.monotonic()
        follows = (State.STREAMING, State.WAITING)
        busy = (State.ANSWERING, *follows)
        waiting = [one for one in self._open if one.state not in busy and one is not new]
        idle = (one for one in waiting if one.state is State.IDLE and one.age(now) > SPARED_SECONDS)
        streams = (one for one in self._open if one.state in follows)
        oldest = next(idle, None) or next(iter(waiting), None) or next(streams, new)
        oldest.drop()

    async def keep_deadlines(self) -> None:
        """Close connections whose deadline is over, until this task is cancelled."""
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            now = time.monotonic()
            for connection in list(self._open):
                if self._is_stopped(connection, now):
                    connection.drop()
                elif connection.is_late(now):
                    connection.expire()

    def drain(self) -> None:
        """End all streams and waits; let each connection end after the request that it is at."""
        self.is_draining = True
        self._stopping_since = time.monotonic()
        for connection in list(self._open):
            connection.end_stream()
        self._note_end()

    def _note_end(self) -> None:
        if self.is_draining and not self._open:
            self.all_closed.set()

    def _is_stopped(self, connection: Connection, now: float) -> bool:
        if not self.is_draining or connection.state is State.ANSWERING:
            return False
        is_writing = connection.state is State.WRITING
        seconds = STOP_WRITING_SECONDS if is_writing else STOP_PENDING_SECONDS
        return now - self._stopping_since >= seconds
