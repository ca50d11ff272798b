"""A process of a server, seen from the one that starts it."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from utils.siblings.member import Member

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0

LONG_LIFE_SECONDS = 60.0
"""A process that has lived for so long starts again after the first pause."""

END_SECONDS = 10.0

_RECEIVED_BYTES = 65_536


class Child:
    """Starts a process, again and again. Each life has another connection, `control`."""

    def __init__(self, member: Member, program: Sequence[str], listener: socket.socket) -> None:
        self.member = member
        self.is_ready = False
        self.failure = ""
        self.code: int | None = None
        self.control: socket.socket | None = None
        self.starts_at = 0.0
        self._program = program
        self._listener = listener
        self._process: subprocess.Popen[bytes] | None = None
        self._received = b""
        self._began_at = 0.0
        self._short_lives = 0

    @property
    def name(self) -> str:
        """The name of the process."""
        return self.member.name

    def start(self) -> socket.socket:
        """Start the process; return the connection to it."""
        ours, theirs = socket.socketpair()
        passed = [theirs.fileno()]
        command = [*self._program, self.name, "--control", str(theirs.fileno())]
        if not self.member.is_worker:
            passed.append(self._listener.fileno())
            command += ["--listener", str(self._listener.fileno())]
        with theirs:
            # In a session of its own: the signals of a terminal are for the parent to hand on.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=passed, start_new_session=True
            )
        ours.settimeout(0)
        self.is_ready, self.failure, self.code, self._received = False, "", None, b""
        self._began_at = time.monotonic()
        self.control = ours
        return ours

    def receive(self) -> list[dict[str, Any]] | None:
        """Return what the process has told, None when it has ended."""
        assert self.control is not None  # noqa: S101
        try:
            piece = self.control.recv(_RECEIVED_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            piece = b""
        if not piece:
            return None
        *lines, self._received = (self._received + piece).split(b"\n")
        return [json.loads(line) for line in lines]

    def send(self, order: bytes) -> None:
        """Send an order, unless the process has ended or does not read any more."""
        if self.control is not None:
            with suppress(OSError):
                self.control.send(order + b"\n")

    def end(self) -> int:
        """Take note of the end of the process; return its exit code, negative for a signal."""
        assert self._process is not None  # noqa: S101
        assert self.control is not None  # noqa: S101
        self.control.close()
        self.control = None
        try:
            self.code = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.code = self._process.wait()
        self._plan_start()
        return self.code

    def kill(self) -> None:
        """Kill the process, if it runs."""
        if self.control is not None and self._process is not None:
            self._process.kill()

    def _plan_start(self) -> None:
        now = time.monotonic()
        if now - self._began_at >= LONG_LIFE_SECONDS:
            self._short_lives = 0
        pause = min(FIRST_PAUSE_SECONDS * 2**self._short_lives, LONGEST_PAUSE_SECONDS)
        self._short_lives = min(self._short_lives + 1, 10)
        self.starts_at = now + pause
