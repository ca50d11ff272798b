"""Serves an application: an event loop for connections, a pool of threads for requests.

Its main thread runs the event loop. Signals stop it in two steps: connections and streams end
first, then the application. It is alone, or one of several processes that share a port.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

import structlog
from flask import Flask

from utils.config.settings import Settings
from utils.config.version import VERSION
from utils.database.sql.reasons import with_reason
from utils.errors import AppError, DatabaseUnavailable
from utils.server.connection import Connection, ConnectionLimits
from utils.server.group.parent_link import ParentLink
from utils.server.group.shared_port import SharedPort
from utils.server.interpreter import tune_interpreter
from utils.server.open_connections import OpenConnections
from utils.server.request_threads import AdaptiveThreadPool
from utils.server.stop_signals import StopSignals
from utils.server.wsgi_bridge import WsgiBridge
from utils.webhooks.delivery import MAX_BYTES as MAX_DELIVERY_BYTES

EXIT_CONFIGURATION = 2
EXIT_STUCK = 1
# Unlike a wrong setting this may pass, so that whoever looks after the process starts it again.
EXIT_UNAVAILABLE = 75
# In addition to the grace time of tasks: for running requests and open connections.
STOP_SECONDS = 10
BACKLOG = 2048

Built = TypeVar("Built")

log = structlog.get_logger(__name__)


def serve(
    settings: Settings,
    build: Callable[[], Flask],
    pause: Callable[[Flask], None],
    stop: Callable[[Flask], None],
    link: ParentLink | None = None,
) -> None:
    """Serve the application that `build` returns until a signal, then `stop` it.

    `pause` is called at the signal, before open connections are closed. A second signal does not
    wait for connections any longer. With a `link` this is one of several processes.
    """
    allow_open_files(settings)
    signals = StopSignals()
    signals.receive()
    if link:
        link.obey(signals)
    app = built("server", build, link)
    server = _WebServer(settings, app, lambda: pause(app), signals, link)
    try:
        asyncio.run(server.run())
    finally:
        signals.forward_to(lambda: None)
        stop(app)
    if server.is_hurried:
        # The end of the interpreter would wait for the threads of requests.
        os._exit(0)


def built(name: str, build: Callable[[], Built], link: ParentLink | None = None) -> Built:
    """Return what `build` returns; when it cannot be built, say why and end the process.

    With a `link` the parent is told, and says so once for all of its processes.
    """
    try:
        result = build()
    except AppError as error:
        reason = with_reason(error) if isinstance(error, DatabaseUnavailable) else error
        message = f"The {name} cannot start: {reason.message}"
        if link:
            link.report_failure(message)
        else:
            print_line(message, error=True)
        is_away = isinstance(error, DatabaseUnavailable)
        raise SystemExit(EXIT_UNAVAILABLE if is_away else EXIT_CONFIGURATION) from None
    tune_interpreter()
    return result


class _WebServer:
    def __init__(
        self,
        settings: Settings,
        app: Flask,
        pause: Callable[[], None],
        signals: StopSignals,
        link: ParentLink | None,
    ) -> None:
        self._settings = settings
        self._app = app
        self._pause = pause
        self._signals = signals
        self._link = link
        self._stopping = asyncio.Event()
        self._hurried = asyncio.Event()

    @property
    def is_hurried(self) -> bool:
        """True after a second signal."""
        return self._hurried.is_set()

    async def run(self) -> None:
        """Serve until a signal and until all connections are closed."""
        loop = asyncio.get_running_loop()
        self._signals.forward_to(lambda: loop.call_soon_threadsafe(self._stop))
        threads = AdaptiveThreadPool(self._settings.request_threads)
        connections = OpenConnections(_limits(self._settings), WsgiBridge(self._app), threads)
        close_port = await self._open_port(lambda: Connection(connections))
        deadlines = loop.create_task(connections.keep_deadlines())
        await self._stopping.wait()
        close_port()
        connections.drain()
        ends = [loop.create_task(one.wait()) for one in (connections.all_closed, self._hurried)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        deadlines.cancel()
        threads.close()

    def _stop(self) -> None:
        if self._stopping.is_set():
            self._hurried.set()
            return
        self._pause()
        self._stopping.set()
        end_if_stuck(self._settings)

    async def _open_port(self, new_connection: Callable[[], Connection]) -> Callable[[], None]:
        """Accept connections and say so; return what ends it."""
        loop = asyncio.get_running_loop()
        if self._link and self._link.listener:
            shared = SharedPort(self._link.listener, new_connection)
            shared.open()
            self._announce(self._link.listener)
            return shared.close
        listener = listen(self._settings)
        server = await loop.create_server(new_connection, sock=listener, backlog=BACKLOG)
        self._announce(listener)
        return server.close

    def _announce(self, listener: socket.socket) -> None:
        services = self._app.extensions["services"]
        database, sandbox = services.database.kind, services.dispatcher.sandbox_kind
        log.info(
            "server started",
            action="server.started",
            version=VERSION,
            environment=self._settings.environment,
            sandbox=sandbox,
            database=database,
        )
        if self._link:
            self._link.report_ready(sandbox, database)
        else:
            print_line(listening_line(self._settings, listener, sandbox, database))


def listening_line(
    settings: Settings,
    listener: socket.socket,
    sandbox: str,
    database: str,
    processes: str | None = None,
) -> str:
    """Return the line that tells where the server listens and how it works."""
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    details = f"version {VERSION}, {settings.environment}, sandbox: {sandbox}, database: {database}"
    if processes:
        details += f", {processes}"
    return f"Listening on http://{shown}:{port} ({details}); browse the API at /docs"


def allow_open_files(settings: Settings) -> None:
    """Raise the limit of open files to what the settings need, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * settings.http_connections
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _limits(settings: Settings) -> ConnectionLimits:
    # Tasks and database connections need open files as well.
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = files == resource.RLIM_INFINITY
    most = settings.http_connections
    return ConnectionLimits(
        most=most if unlimited else min(most, files // 2),
        max_body_bytes=max(settings.max_body_bytes, settings.max_import_bytes, MAX_DELIVERY_BYTES),
        read_seconds=settings.http_read_seconds,
        write_seconds=settings.http_write_seconds,
    )


def listen(settings: Settings) -> socket.socket:
    """Return a socket that is bound to the address of the settings."""
    found = socket.getaddrinfo(
        settings.listen_host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    return listener


def end_if_stuck(settings: Settings) -> None:
    """End the process when it has not stopped after the time that it may take."""
    # Long enough to finish a running capture.
    seconds = settings.shutdown_grace_seconds + settings.command_timeout_seconds + STOP_SECONDS
    last = threading.Timer(seconds, os._exit, (EXIT_STUCK,))
    last.daemon = True
    last.start()


def print_line(text: str, *, error: bool = False) -> None:
    """Write a line for the operator to standard output, or to standard error."""
    stream = sys.stderr if error else sys.stdout
    stream.write(f"{text}\n")
    stream.flush()
