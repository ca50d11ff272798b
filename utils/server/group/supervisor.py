"""Runs a server of several processes: web processes that share a port, and a worker.

The parent opens the port and the others inherit it. So nobody else can take it, a connection that
waits is accepted by whoever is left when a process dies, and macOS spreads connections as Linux
does; sockets that are bound to the same port by SO_REUSEPORT give none of this.
"""

from __future__ import annotations

import selectors
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress

import structlog

from utils.config.groups.identity import deployment_name
from utils.config.private_folder import data_folder_unusable, open_private_folder
from utils.config.settings import Settings
from utils.credentials.vault import encryption_keys, signing_key
from utils.errors import ConfigurationError
from utils.server.group.child import Child
from utils.server.group.parent_link import ADDED, FAILED, HURRY, READY, STOP, TASKS
from utils.server.stop_signals import StopSignals
from utils.server.web_server import (
    BACKLOG,
    EXIT_CONFIGURATION,
    EXIT_STUCK,
    listen,
    listening_line,
    print_line,
)
from utils.siblings.member import member_names, member_of
from utils.siblings.shared_metrics import forget_metrics

HURRY_SECONDS = 5.0
"""Time that processes have after a second signal, before they are killed."""

log = structlog.get_logger(__name__)


def supervise(settings: Settings, program: Sequence[str]) -> int:
    """Run the processes of a server until a signal; return the exit code.

    `program` starts a process with its name and descriptors as further arguments. One that dies is
    started again. When one cannot start at all, the others end and its message is printed.
    """
    signals = StopSignals()
    signals.receive()
    try:
        _prepare_keys(settings)
    except ConfigurationError as error:
        print_line(f"The server cannot start: {error.message}", error=True)
        return EXIT_CONFIGURATION
    with listen(settings) as listener:
        listener.listen(BACKLOG)
        group = _Group(settings, program, listener)
        signals.forward_to(group.note_signal)
        return group.run()


def _prepare_keys(settings: Settings) -> None:
    """Generate what is missing in the data folder, before several processes need the same."""
    try:
        open_private_folder(settings.data_dir)
    except OSError as error:
        raise data_folder_unusable(settings.data_dir, error) from error
    signing_key(settings)
    encryption_keys(settings)
    deployment_name(settings)


class _Group:
    def __init__(self, settings: Settings, program: Sequence[str], listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        members = [member_of(settings, name) for name in member_names(settings)]
        self._children = [Child(member, program, listener) for member in members]
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        for one in (self._woken, self._waker):
            one.settimeout(0)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._signals = 0
        self._is_stopping = False
        self._was_ready = False
        self._kills_at: float | None = None
        self._code = 0

    def note_signal(self) -> None:
        """Note a signal; may be called in a signal handler."""
        self._signals += 1
        with suppress(OSError):
            self._waker.send(b"\0")

    def run(self) -> int:
        """Start the processes, and return the exit code when all have ended."""
        while True:
            self._start_due()
            if self._is_stopping and not self._running:
                return self._code
            for key, _ in self._selector.select(self._seconds_left()):
                if key.data is None:
                    with suppress(OSError):
                        self._woken.recv(1024)
                else:
                    self._hear(key.data)
            self._obey_signals()

    @property
    def _running(self) -> list[Child]:
        return [child for child in self._children if child.control is not None]

    def _start_due(self) -> None:
        if self._is_stopping:
            return
        now = time.monotonic()
        for child in self._children:
            if child.control is None and child.starts_at <= now:
                self._selector.register(child.start(), selectors.EVENT_READ, child)

    def _seconds_left(self) -> float | None:
        if self._is_stopping:
            moments = [] if self._kills_at is None else [self._kills_at]
        else:
            moments = [one.starts_at for one in self._children if one.control is None]
        return max(min(moments) - time.monotonic(), 0) if moments else None

    def _hear(self, child: Child) -> None:
        messages = child.receive()
        if messages is None:
            self._note_end(child)
            return
        for message in messages:
            kind = message["kind"]
            if kind == READY:
                child.is_ready = True
                self._announce(message["sandbox"], message["database"])
            elif kind == FAILED:
                child.failure = message["message"]
            elif kind == ADDED:
                for worker in (one for one in self._running if one.member.is_worker):
                    worker.send(TASKS)

    def _announce(self, sandbox: str, database: str) -> None:
        if self._was_ready or not all(child.is_ready for child in self._children):
            return
        self._was_ready = True
        processes = f"{self._settings.http_processes} web processes"
        if self._settings.work:
            processes += " and a worker"
        print_line(listening_line(self._settings, self._listener, sandbox, database, processes))

    def _note_end(self, child: Child) -> None:
        self._selector.unregister(child.control)  # type: ignore[arg-type]
        was_ready, code = child.is_ready, child.end()
        child.is_ready = False
        forget_metrics(child.member)
        if self._is_stopping:
            if code not in {0, -signal.SIGTERM}:
                self._code = self._code or EXIT_STUCK
            return
        is_hopeless = code == EXIT_CONFIGURATION and not self._running
        if not self._was_ready or (not was_ready and is_hopeless):
            self._give_up(child, code)
            return
        log.warning(
            "process ended",
            action="process.ended",
            process=child.name,
            exit_code=code,
            reason=child.failure or None,
        )

    def _give_up(self, child: Child, code: int) -> None:
        ended = f"The server cannot start: its process {child.name} has ended with code {code}."
        print_line(child.failure or ended, error=True)
        self._code = code if code > 0 else EXIT_STUCK
        self._stop()

    def _obey_signals(self) -> None:
        if self._signals and not self._is_stopping:
            self._stop()
        if self._signals > 1 and self._kills_at is None:
            self._kills_at = time.monotonic() + HURRY_SECONDS
            for child in self._running:
                child.send(HURRY)
        if self._kills_at is not None and time.monotonic() >= self._kills_at:
            self._kills_at += HURRY_SECONDS
            for child in self._running:
                child.kill()

    def _stop(self) -> None:
        self._is_stopping = True
        # Otherwise connections would wait for nobody.
        self._listener.close()
        for child in self._running:
            child.send(STOP)
