"""Serves an application with gunicorn: one worker process, a pool of threads.

The application is built inside the worker, because event loops and database connections do not
survive a fork; gunicorn's first process only listens, watches and passes signals on.
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
# Beside the tasks' grace time: answers under way, and kept-alive connections that gunicorn closes.
STOP_SECONDS = 10
# While stopping, what is on its way on a connection that was just opened is answered.
STOP_PENDING_SECONDS = 2
START_SECONDS = 60
# A thread that reads a request waits so long for the next piece of it. Less would cut off slow
# lines, and without an end a handful of clients that send half a request would hold all threads.
READ_SECONDS = 15


def serve(
    settings: Settings,
    build: Callable[[], Flask],
    pause: Callable[[Flask], None],
    stop: Callable[[Flask], None],
) -> None:
    """Serve what `build` makes until a signal comes, then `stop` it. Ends the process.

    `pause` is called right at the signal, before open connections are ended, in its handler.
    """
    first_process = os.getpid()
    try:
        _Server(settings, build, pause, stop).run()
    except SystemExit as end:
        # The worker comes through here as well, and has to keep the code that gunicorn looks for.
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
            # Also the time to start in, which may have to wait for an earlier server's end.
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
        # What exists now stays. Looked through at every full collection, it would make all threads
        # and the event loop wait for a fifth of a second.
        gc.freeze()
        return self._app

    def pause(self) -> None:
        """Have the application begin nothing new."""
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
        """Return the threads that requests are answered in."""
        return AdaptiveThreadPool(self.cfg.threads)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """See to it that requests do not wait for threads that are held up."""
        self.tpool.wait_until_begun()
        super().wait_for_and_dispatch_events(self.tpool.patience(timeout))
        self.tpool.relieve()

    def enqueue_req(self, conn: TConn) -> None:
        """Have a thread answer what a connection has sent, once it has sent something."""
        if conn.initialized or conn.data_ready or conn.wait_for_data(0):
            self.tpool.submit(partial(self._answer, conn))
        else:
            self._await_first_bytes(conn)

    def _await_first_bytes(self, conn: TConn) -> None:
        # gunicorn would wait for them in a thread, 5 s for each connection that a browser opens
        # ahead, and only then as here.
        conn.timeout = time.monotonic() + self.cfg.keepalive
        self.pending_conns.append(conn)
        readable = partial(self.on_pending_socket_readable, conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, readable)

    def _answer(self, conn: TConn) -> None:
        done: Future[Any] = Future()
        try:
            done.set_result(self.handle(conn))
        except BaseException as error:  # noqa: BLE001
            # As an executor does: `finish_request` sees to the connection.
            done.set_exception(error)
        self.method_queue.defer(self.finish_request, conn, done)

    def handle(self, conn: TConn) -> Any:
        """Answer a request; a client that stops in the middle of one has gone."""
        if not isinstance(conn.sock, _ReadTimeoutSocket):
            conn.sock = _ReadTimeoutSocket(fileno=conn.sock.detach())
            conn.sock.wait_at_most(READ_SECONDS)
        return super().handle(conn)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Pause first: ending the connections that are open takes a while."""
        self.app.pause()
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """End as on SIGTERM: Ctrl-C reaches both processes, and tasks need their grace time."""
        self.handle_exit(sig, frame)

    def murder_pending(self) -> None:
        """Drop connections without a request when stopping; browsers keep some open.

        What was opened just before the signal has a moment for its first bytes.
        """
        if not self.alive:
            self._pending_until = self._pending_until or time.monotonic() + STOP_PENDING_SECONDS
            for connection in self.pending_conns:
                connection.timeout = min(connection.timeout, self._pending_until)
        super().murder_pending()


class _ReadTimeoutSocket(socket.socket):
    """A connection whose silence, while something is read from it, means that it has ended.

    gunicorn sets the timeout of its sockets itself, to none for reading a request. This is a limit
    of the system beside it, for reading alone: long answers may be taken slowly.
    """

    def wait_at_most(self, seconds: int) -> None:
        """Wait so long for each piece."""
        self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", seconds, 0))

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Read a piece; nothing when it does not come in time."""
        try:
            return super().recv(size, flags)
        except BlockingIOError:
            return b""


class _Log(Logger):  # type: ignore[misc]
    """Hands gunicorn's own lines to the root logger, where telemetry formats them."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True
        self.access_log.setLevel(logging.CRITICAL)


def _stop_seconds(settings: Settings) -> float:
    # A capture under way is finished rather than lost.
    return settings.shutdown_grace_seconds + settings.command_timeout_seconds + STOP_SECONDS


def print_line(text: str, *, error: bool = False) -> None:
    """Write a line for the person who starts the server."""
    stream = sys.stderr if error else sys.stdout
    stream.write(f"{text}\n")
    stream.flush()
