"""The worker of gunicorn: one thread for all connections, and threads for whole requests.

The main thread collects requests and sends what clients have not yet read. A request gets a thread
when all of it is there, and gives it back when the response is made. So slow clients hold up
nobody, and idle connections cost no thread.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from selectors import EVENT_READ, EVENT_WRITE
from types import FrameType
from typing import Any

from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]
from werkzeug.exceptions import HTTPException, RequestTimeout, ServiceUnavailable

from utils.server.connections import READ_BYTES, Connection, ConnectionLimits, State
from utils.server.refusals import refusal_of, refused
from utils.server.request_threads import AdaptiveThreadPool

# While stopping: time for a request on a connection that was just opened, and for slow clients.
STOP_PENDING_SECONDS = 2
STOP_WRITING_SECONDS = 5
# An idle connection may be closed for a new one after this time.
SPARED_SECONDS = 2
# Large requests in memory, in units of the largest body. The largest incomplete one goes first.
MAX_BUFFERED_BODIES = 4
# Responses in memory that clients have not read. Who has read nothing for longest goes first.
MAX_UNSENT_BYTES = 128_000_000

_CHECK_SECONDS = 0.25
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_NO_CONNECTION = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED})
_NO_FILES_LEFT = frozenset({errno.EMFILE, errno.ENFILE})


class Worker(ThreadWorker):  # type: ignore[misc]
    """Serves connections; its application object provides `limits` and `pause`."""

    def init_process(self) -> None:
        """Set up the connections, then serve them until a signal arrives."""
        # In order of their last request, the oldest first.
        self._open: dict[Connection, None] = {}
        self._next_check = 0.0
        self._stopping_since: float | None = None
        # Sizes of large requests, from their first parts until they are answered.
        self._large: dict[Connection, int] = {}
        self._unsent: dict[Connection, int] = {}
        self._unsent_bytes = 0
        self._limits: ConnectionLimits = self.app.limits
        super().init_process()

    def get_thread_pool(self) -> AdaptiveThreadPool:
        """Return the thread pool for requests."""
        return AdaptiveThreadPool(self.cfg.threads)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Handle events; start further threads when requests wait for blocked ones."""
        self.tpool.wait_until_started()
        super().wait_for_and_dispatch_events(self.tpool.wait_limit(timeout))
        self.tpool.start_more_threads()

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection; at the limit close the one that has been idle for longest."""
        try:
            client_socket, client = listener.accept()
        except OSError as error:
            if error.errno in _NO_FILES_LEFT:
                self._close_oldest()
            elif error.errno not in _NO_CONNECTION:
                raise
            return
        now = time.monotonic()
        server = listener.getsockname()
        conn = Connection(self.cfg, client_socket, client, server, self._limits, now)
        self._open[conn] = None
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections:
            self._close_oldest()
        if conn in self._open:
            self._receive(conn)

    def finish_request(self, conn: Connection, done: Future[Any]) -> None:
        """Send the rest of the response, then continue with the next request or close."""
        conn.keep = conn.keep and done.exception() is None and bool(done.result())
        self._open.pop(conn)
        self._open[conn] = None
        self._large.pop(conn, None)
        conn.read_at = time.monotonic()
        self._send(conn)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:  # noqa: ARG002
        """Answer a request that gunicorn refuses, or that failed outside of Flask."""
        client.sendall(refused(self.wsgi, refusal_of(exc), client.origin, addr))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Pause the application first, because closing open connections takes a while."""
        self.app.pause()
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Stop as on SIGTERM: Ctrl-C reaches both processes, and tasks need their grace time."""
        self.handle_exit(sig, frame)

    def murder_keepalived(self, force: bool = False) -> None:  # noqa: FBT001, FBT002
        """Close the connections whose deadline is over; with `force` all of them.

        gunicorn calls this after each round of events.
        """
        now = time.monotonic()
        if not self.alive and self._stopping_since is None:
            self._stopping_since = now
        if force:
            for conn in list(self._open):
                self._drop(conn)
        elif now >= self._next_check:
            self._next_check = now + _CHECK_SECONDS
            for conn in list(self._open):
                if conn.is_late(now) or self._is_stopped(conn, now):
                    self._expire(conn)

    def _ready(self, conn: Connection, _socket: object) -> None:
        # An earlier event of the same round may have closed the connection.
        if not conn.watched:
            return
        if conn.state is State.WRITING:
            self._send(conn)
        elif conn.state is State.CLOSING:
            self._discard(conn)
        else:
            self._receive(conn)

    def _receive(self, conn: Connection) -> None:
        try:
            is_open = conn.receive()
        except BlockingIOError:
            self._watch(conn, EVENT_READ)
            return
        except OSError:
            is_open = False
        if not is_open:
            self._drop(conn)
        elif self._has_memory(conn):
            self._start_next(conn)

    def _start_next(self, conn: Connection) -> None:
        try:
            request = conn.buffer.take_request()
        except HTTPException as refusal:
            self._refuse(conn, refusal)
            return
        if request is not None:
            conn.sock.load(request)
            self._submit(conn, partial(self.handle, conn))
            return
        state = State.IDLE
        if len(conn.buffer):
            state = State.BODY if conn.buffer.has_head else State.HEAD
        conn.enter(state, time.monotonic())
        self._watch(conn, EVENT_READ)
        if conn.buffer.take_expectation():
            try:
                conn.sock.sendall(_CONTINUE)
            except OSError:
                self._drop(conn)

    def _refuse(self, conn: Connection, refusal: HTTPException) -> None:
        conn.keep = False
        self._submit(conn, partial(self._answer_refusal, conn, refusal))

    def _answer_refusal(self, conn: Connection, refusal: HTTPException) -> None:
        conn.sock.sendall(refused(self.wsgi, refusal, conn.buffer.origin, conn.client))

    def _submit(self, conn: Connection, work: Callable[[], object]) -> None:
        self._watch(conn, 0)
        conn.enter(State.ANSWERING, time.monotonic())
        self.tpool.submit(partial(self._run, conn, work))

    def _run(self, conn: Connection, work: Callable[[], object]) -> None:
        done: Future[Any] = Future()
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001
            # As an executor does: `finish_request` closes the connection.
            done.set_exception(error)
        self.method_queue.defer(self.finish_request, conn, done)

    def _send(self, conn: Connection) -> None:
        now = time.monotonic()
        try:
            is_sent = conn.send(now)
        except OSError:
            self._drop(conn)
            return
        self._count_unsent(conn, conn.sock.unsent_bytes)
        if not is_sent:
            conn.enter(State.WRITING, now)
            self._watch(conn, EVENT_WRITE)
            while self._unsent_bytes > MAX_UNSENT_BYTES:
                self._drop(min(self._unsent, key=lambda one: one.read_at))
        elif conn.keep:
            self._start_next(conn)
        else:
            self._close_gently(conn)

    def _close_gently(self, conn: Connection) -> None:
        # What the client is still sending is read for a moment: a socket that is closed with unread
        # data makes the client's system throw the response away.
        conn.enter(State.CLOSING, time.monotonic())
        try:
            conn.client_socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(conn)
            return
        self._watch(conn, EVENT_READ)

    def _discard(self, conn: Connection) -> None:
        try:
            is_open = conn.discard()
        except BlockingIOError:
            return
        except OSError:
            is_open = False
        if not is_open:
            self._drop(conn)

    def _expire(self, conn: Connection) -> None:
        if conn.state in (State.HEAD, State.BODY) and self.alive:
            self._refuse(conn, RequestTimeout())
        else:
            self._drop(conn)

    def _is_stopped(self, conn: Connection, now: float) -> bool:
        if self._stopping_since is None or conn.state is State.ANSWERING:
            return False
        is_writing = conn.state is State.WRITING
        seconds = STOP_WRITING_SECONDS if is_writing else STOP_PENDING_SECONDS
        return now - self._stopping_since >= seconds

    def _has_memory(self, conn: Connection) -> bool:
        """Refuse the largest incomplete body at the limit; return False if it is this one."""
        if len(conn.buffer) <= READ_BYTES:
            return True
        self._large[conn] = len(conn.buffer)
        if sum(self._large.values()) <= MAX_BUFFERED_BODIES * self._limits.max_body_bytes:
            return True
        incomplete = [one for one in self._large if one is conn or one.state is State.BODY]
        largest = max(incomplete, key=self._large.__getitem__)
        self._refuse(largest, ServiceUnavailable())
        return largest is not conn

    def _count_unsent(self, conn: Connection, count: int) -> None:
        self._unsent_bytes += count - self._unsent.pop(conn, 0)
        if count:
            self._unsent[conn] = count

    def _close_oldest(self) -> None:
        now = time.monotonic()
        waiting = [conn for conn in self._open if conn.state is not State.ANSWERING]
        idle = (
            conn for conn in waiting if conn.state is State.IDLE and conn.age(now) > SPARED_SECONDS
        )
        oldest = next(idle, waiting[0] if waiting else None)
        if oldest is not None:
            self._drop(oldest)

    def _drop(self, conn: Connection) -> None:
        self._watch(conn, 0)
        self._large.pop(conn, None)
        self._count_unsent(conn, 0)
        del self._open[conn]
        self.nr_conns -= 1
        conn.close()

    def _watch(self, conn: Connection, events: int) -> None:
        if events == conn.watched:
            return
        if conn.watched:
            self.poller.unregister(conn.client_socket)
        if events:
            self.poller.register(conn.client_socket, events, partial(self._ready, conn))
        conn.watched = events
