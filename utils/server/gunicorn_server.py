"""Serves an application with gunicorn: one worker process, a pool of threads.

The application is built in the worker process, because event loops and database connections do not
survive a fork. The first process of gunicorn listens, supervises the worker and forwards signals.
"""

from __future__ import annotations

import gc
import logging
import os
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from types import FrameType
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]
from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped]
from gunicorn.glogging import Logger  # type: ignore[import-untyped]
from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]

from utils.config.settings import Settings
from utils.errors import AppError
from utils.server.request_threads import AdaptiveThreadPool

EXIT_CONFIGURATION = 2
KEEP_ALIVE_SECONDS = 75
# In addition to the grace time of tasks: for running requests, and for kept-alive connections that
# gunicorn closes.
STOP_SECONDS = 10
# While stopping: time for the first request on a connection that was just opened.
STOP_PENDING_SECONDS = 2
START_SECONDS = 60
# Longest wait for the next piece of a request. A shorter time would cut off slow clients; without a
# limit a few clients that send half a request would block all threads.
READ_SECONDS = 15


def serve(
    settings: Settings,
    build: Callable[[], Flask],
    pause: Callable[[Flask], None],
    stop: Callable[[Flask], None],
) -> None:
    """Serve the application that `build` returns until a signal, then `stop` it; end the process.

    The signal handler calls `pause`, before open connections are closed.
    """
    first_process = os.getpid()
    try:
        _Server(settings, build, pause, stop).run()
    except SystemExit as end:
        # The worker process also runs this line; it must keep the exit code that gunicorn expects.
        if end.code == Arbiter.APP_LOAD_ERROR and os.getpid() == first_process:
            raise SystemExit(EXIT_CONFIGURATION) from None
        raise


class _Server(BaseApplication):  # type: ignore[misc]
    def __init__(
        self,
        settings: Settings,
        build: Callable[[], Flask],
        pause: Callable[[Flask], None],
        stop: Callable[[Flask], None],
    ) -> None:
        self._settings = settings
        self._build = build
        self._pause = pause
        self._stop = stop
        self._app: Flask | None = None
        super().__init__()

    def load_config(self) -> None:
        settings = self._settings
        host = settings.listen_host
        options = {
            "bind": f"[{host}]:{settings.port}" if ":" in host else f"{host}:{settings.port}",
            "workers": 1,
            "worker_class": _Worker,
            "threads": settings.request_threads,
            "keepalive": KEEP_ALIVE_SECONDS,
            # Also limits the start, which may have to wait for the end of an earlier server.
            "timeout": int(settings.shutdown_grace_seconds) + START_SECONDS,
            "graceful_timeout": int(_stop_seconds(settings)),
            "control_socket_disable": True,
            "logger_class": _Log,
            "loglevel": "debug" if settings.log_level == "DEBUG" else "warning",
            "post_worker_init": self._announce,
            "worker_exit": self._close,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        try:
            self._app = self._build()
        except AppError as error:
            print_line(f"The server cannot start: {error.message}", error=True)
            raise SystemExit(Arbiter.APP_LOAD_ERROR) from None
        # The present objects stay alive. Without this each full garbage collection would traverse
        # them and block all threads and the event loop for a fifth of a second.
        gc.freeze()
        return self._app

    def pause(self) -> None:
        """Stop the application from starting tasks."""
        if self._app is not None:
            self._pause(self._app)

    def _announce(self, worker: Any) -> None:
        host, port = worker.sockets[0].sock.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        database = self._app.extensions["services"].database.kind if self._app else ""
        sandbox = self._app.extensions["services"].dispatcher.sandbox_kind if self._app else ""
        print_line(
            f"Listening on http://{shown}:{port} "
            f"({self._settings.environment}, sandbox: {sandbox}, database: {database}); "
            "browse the API at /docs"
        )

    def _close(self, _arbiter: Any, _worker: Any) -> None:
        if self._app is not None:
            self._stop(self._app)


class _Worker(ThreadWorker):  # type: ignore[misc]
    _pending_until: float | None = None

    def get_thread_pool(self) -> AdaptiveThreadPool:
        """Return the thread pool for requests."""
        return AdaptiveThreadPool(self.cfg.threads)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Handle events; start further threads when requests wait for blocked ones."""
        self.tpool.wait_until_started()
        super().wait_for_and_dispatch_events(self.tpool.wait_limit(timeout))
        self.tpool.start_more_threads()

    def enqueue_req(self, conn: TConn) -> None:
        """Have a thread answer a connection once the connection has sent data."""
        if conn.initialized or conn.data_ready or conn.wait_for_data(0):
            self.tpool.submit(partial(self._answer, conn))
        else:
            self._await_first_bytes(conn)

    def _await_first_bytes(self, conn: TConn) -> None:
        # gunicorn would first wait in a thread, 5 s for each connection that a browser opens in
        # advance, and only then in the poller.
        conn.timeout = time.monotonic() + self.cfg.keepalive
        self.pending_conns.append(conn)
        readable = partial(self.on_pending_socket_readable, conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, readable)

    def _answer(self, conn: TConn) -> None:
        done: Future[Any] = Future()
        try:
            done.set_result(self.handle(conn))
        except BaseException as error:  # noqa: BLE001
            # As an executor does: `finish_request` closes the connection.
            done.set_exception(error)
        self.method_queue.defer(self.finish_request, conn, done)

    def handle(self, conn: TConn) -> Any:
        """Answer a request; close the connection when a client stops in the middle of a request."""
        if not isinstance(conn.sock, _ReadTimeoutSocket):
            conn.sock = _ReadTimeoutSocket(fileno=conn.sock.detach())
            conn.sock.set_read_timeout(READ_SECONDS)
        return super().handle(conn)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Pause the application first, because closing open connections takes a while."""
        self.app.pause()
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Stop as on SIGTERM: Ctrl-C reaches both processes, and tasks need their grace time."""
        self.handle_exit(sig, frame)

    def murder_pending(self) -> None:
        """Close idle connections, when stopping also those without a request.

        Browsers keep some open. A connection opened just before the signal may still send its first
        request within `STOP_PENDING_SECONDS`.
        """
        if not self.alive:
            self._pending_until = self._pending_until or time.monotonic() + STOP_PENDING_SECONDS
            for connection in self.pending_conns:
                connection.timeout = min(connection.timeout, self._pending_until)
        super().murder_pending()


class _ReadTimeoutSocket(socket.socket):
    """A socket that reports the end of the connection when a read takes too long.

    gunicorn sets the Python timeout of its sockets, to none for reading a request. This uses the
    timeout of the operating system, for reads only: a client may receive a long response slowly.
    """

    def set_read_timeout(self, seconds: int) -> None:
        """Set the longest wait for each piece."""
        self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", seconds, 0))

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Read a piece; return nothing when it does not arrive in time."""
        try:
            return super().recv(size, flags)
        except BlockingIOError:
            return b""


class _Log(Logger):  # type: ignore[misc]
    """Passes the log lines of gunicorn to the root logger, which telemetry formats."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True
        self.access_log.setLevel(logging.CRITICAL)


def _stop_seconds(settings: Settings) -> float:
    # Long enough to finish a running capture.
    return settings.shutdown_grace_seconds + settings.command_timeout_seconds + STOP_SECONDS


def print_line(text: str, *, error: bool = False) -> None:
    """Write a line for the operator to standard output, or to standard error."""
    stream = sys.stderr if error else sys.stdout
    stream.write(f"{text}\n")
    stream.flush()
