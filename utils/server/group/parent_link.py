"""Connects a process of a server with the one that started it.

They exchange lines over a pair of sockets. The end of this connection is the end of the other one,
so that no process is left behind when its parent is killed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from utils.server.stop_signals import StopSignals
from utils.siblings.member import Member

STOP = b"stop"
HURRY = b"hurry"
TASKS = b"tasks"

READY = "ready"
FAILED = "failed"
ADDED = "tasks"

_PAUSE_SECONDS = 0.02


class ParentLink:
    """Tells the parent what happens here, and obeys it. `listener` is the port of all processes."""

    def __init__(self, member: Member, control: int, listener: int | None) -> None:
        self.member = member
        self._socket = socket.socket(fileno=control)
        self._socket.set_inheritable(False)
        self.listener: socket.socket | None = None
        if listener is not None:
            self.listener = socket.socket(fileno=listener)
            self.listener.set_inheritable(False)
            self.listener.settimeout(0)
        self._lock = threading.Lock()
        self._signals: StopSignals | None = None
        self._on_tasks: Callable[[], object] = lambda: None

    def obey(self, signals: StopSignals) -> None:
        """Stop when the parent says so or has ended; call it when signals are received."""
        self._signals = signals
        threading.Thread(target=self._read, name="parent", daemon=True).start()

    def wake(self, on_tasks: Callable[[], object]) -> None:
        """Call a function when another process has stored a task."""
        self._on_tasks = on_tasks

    def report_ready(self, sandbox: str, database: str) -> None:
        """Tell that this process works."""
        self._tell({"kind": READY, "sandbox": sandbox, "database": database})

    def report_failure(self, message: str) -> None:
        """Tell why this process cannot start."""
        self._tell({"kind": FAILED, "message": message})

    def report_task(self) -> None:
        """Tell that a task waits."""
        self._tell({"kind": ADDED})

    def _tell(self, message: dict[str, str]) -> None:
        # The parent may have ended.
        with suppress(OSError), self._lock:
            self._socket.sendall(json.dumps(message).encode() + b"\n")

    def _read(self) -> None:
        with suppress(OSError), self._socket.makefile("rb") as orders:
            for line in orders:
                order = line.strip()
                if order == TASKS:
                    self._on_tasks()
                else:
                    self._ask_to_stop(2 if order == HURRY else 1)
        self._ask_to_stop(1)

    def _ask_to_stop(self, times: int) -> None:
        """Have so many signals received; whoever ends a service may have sent some as well."""
        assert self._signals is not None  # noqa: S101
        while self._signals.received < times:
            before = self._signals.received
            os.kill(os.getpid(), signal.SIGTERM)
            while self._signals.received == before:
                time.sleep(_PAUSE_SECONDS)
