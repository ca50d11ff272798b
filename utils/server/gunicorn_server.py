"""Serves an application with gunicorn: one worker process, a pool of threads.

The application is built in the worker process, because event loops and database connections do not
survive a fork. The first process of gunicorn listens, supervises the worker and forwards signals.
"""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

import structlog
from flask import Flask
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]
from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped]
from gunicorn.glogging import Logger  # type: ignore[import-untyped]

from utils.config.settings import Settings
from utils.config.version import VERSION
from utils.database.sql.reasons import with_reason
from utils.errors import AppError, DatabaseUnavailable
from utils.server.connections import KEEP_ALIVE_SECONDS, ConnectionLimits
from utils.server.request_buffer import MAX_FIELD_BYTES, MAX_LINE_BYTES
from utils.server.worker import Worker
from utils.webhooks.delivery import MAX_BYTES as MAX_DELIVERY_BYTES

EXIT_CONFIGURATION = 2
# In addition to the grace time of tasks: for running requests, and for kept-alive connections that
# gunicorn closes.
STOP_SECONDS = 10
START_SECONDS = 60
# They would start a second worker or a second server. It cannot get the lock of the data folder,
# and gunicorn ends everything when a worker cannot start.
IGNORED_SIGNALS = (signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR2)

log = structlog.get_logger(__name__)


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
            "worker_class": Worker,
            "threads": settings.request_threads,
            "worker_connections": _most_connections(settings),
            "keepalive": KEEP_ALIVE_SECONDS,
            "limit_request_line": MAX_LINE_BYTES,
            "limit_request_field_size": MAX_FIELD_BYTES,
            # Files would be sent past the socket that keeps what a slow client has not read.
            "sendfile": False,
            # Also limits the start, which may have to wait for the end of an earlier server.
            "timeout": int(settings.shutdown_grace_seconds) + START_SECONDS,
            "graceful_timeout": int(_stop_seconds(settings)),
            "control_socket_disable": True,
            "logger_class": _Log,
            "loglevel": "debug" if settings.log_level == "DEBUG" else "warning",
            "when_ready": _ignore_signals,
            "post_worker_init": self._announce,
            "worker_exit": self._close,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    @property
    def limits(self) -> ConnectionLimits:
        """The limits of each connection."""
        settings = self._settings
        return ConnectionLimits(
            max_body_bytes=max(
                settings.max_body_bytes, settings.max_import_bytes, MAX_DELIVERY_BYTES
            ),
            read_seconds=settings.http_read_seconds,
            write_seconds=settings.http_write_seconds,
        )

    def load(self) -> Flask:
        try:
            self._app = self._build()
        except AppError as error:
            reason = with_reason(error) if isinstance(error, DatabaseUnavailable) else error
            print_line(f"The server cannot start: {reason.message}", error=True)
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
        log.info(
            "server started",
            action="server.started",
            version=VERSION,
            environment=self._settings.environment,
            sandbox=sandbox,
            database=database,
        )
        print_line(
            f"Listening on http://{shown}:{port} "
            f"(version {VERSION}, {self._settings.environment}, sandbox: {sandbox}, "
            f"database: {database}); browse the API at /docs"
        )

    def _close(self, _arbiter: Any, _worker: Any) -> None:
        if self._app is not None:
            self._stop(self._app)


def _ignore_signals(_arbiter: Any) -> None:
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class _Log(Logger):  # type: ignore[misc]
    """Passes the log lines of gunicorn to the root logger, which telemetry formats."""

    _is_refusal = False

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True
        self.access_log.setLevel(logging.CRITICAL)

    def error(self, msg: str, *arguments: Any, **options: Any) -> None:
        """Log an error, except that the worker refused to start: it has printed the reason."""
        self._is_refusal = self._is_refusal or arguments[1:] == (Arbiter.APP_LOAD_ERROR,)
        if not self._is_refusal:
            super().error(msg, *arguments, **options)


def _stop_seconds(settings: Settings) -> float:
    # Long enough to finish a running capture.
    return settings.shutdown_grace_seconds + settings.command_timeout_seconds + STOP_SECONDS


def _most_connections(settings: Settings) -> int:
    # Tasks and database connections need open files as well.
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = files == resource.RLIM_INFINITY
    return settings.http_connections if unlimited else min(settings.http_connections, files // 2)


def print_line(text: str, *, error: bool = False) -> None:
    """Write a line for the operator to standard output, or to standard error."""
    stream = sys.stderr if error else sys.stdout
    stream.write(f"{text}\n")
    stream.flush()
