"""Runs the commands of the fake sandboxes as real processes, the way envd runs them.

From docs/e2b.md section 5: output that nobody listens to is discarded; the end is told only when
every holder of stdout and stderr has closed them; a slow listener holds the command back; a
signal reaches one pid only, and with it the reading of the output ends; the pid is no group leader,
so that `setsid` behaves as it does there; commands run as uid 1000 without privileges.
No thread per process: pipes and exits (pidfd) are watched by the event loop, so this needs Linux.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

CHUNK_BYTES = 32_768
USER_ID = 1000
ENDING_SIGNALS = (signal.SIGKILL, signal.SIGTERM)
LISTENER_BYTES = 262_144
"""Events that may queue for one listener before the command is paused."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The end of a sandbox that had a listener; without a message the connection is dropped."""

    message: str | None


Event = bytes | Lost | None
"""A JSON event, the loss of the sandbox, or None after the end event."""


class Listener:
    """One client that follows a command."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._events: deque[Event] = deque()
        self._ready = asyncio.Event()
        self.waiting_bytes = 0

    def put(self, event: Event) -> None:
        """Queue an event."""
        self._events.append(event)
        self.waiting_bytes += len(event) if isinstance(event, bytes) else 0
        self._ready.set()

    async def get(self) -> Event:
        """Return the next event."""
        while not self._events:
            self._ready.clear()
            await self._ready.wait()
        event = self._events.popleft()
        self.waiting_bytes -= len(event) if isinstance(event, bytes) else 0
        self._process.read_on()
        return event

    def detach(self) -> None:
        """Stop listening; the command continues."""
        self._process.listeners.discard(self)
        self._process.read_on()


@dataclass(slots=True)
class Command:
    """The command of a Start request, as `List` reports it."""

    config: dict[str, Any]
    tag: str | None
    arguments: list[str]
    environment: Mapping[str, str]
    directory: Path
    stdin: bool


class Process:
    """A running command. Creating it raises `OSError` when it cannot be started."""

    def __init__(
        self, command: Command, group: int, niceness: int, on_end: Callable[[Process], None]
    ) -> None:
        self.command = command
        self.listeners: set[Listener] = set()
        self.end_event: bytes | None = None
        self.deadline: asyncio.TimerHandle | None = None
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._popen = subprocess.Popen(
            command.arguments,
            cwd=command.directory,
            env=command.environment,
            stdin=subprocess.PIPE if command.stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            # Nothing of ours is inheritable, and closing thousands one by one takes a while.
            close_fds=False,
            process_group=group,
        )
        self.pid = self._popen.pid
        if niceness:
            os.setpriority(os.PRIO_PROCESS, self.pid, niceness)
        self._pidfd = -1
        self._is_cut = False
        self._stdin_lock = asyncio.Lock()
        self._pipes = {"stdout": self._popen.stdout, "stderr": self._popen.stderr}
        self._reading: set[str] = set()
        if self._popen.stdin:
            os.set_blocking(self._popen.stdin.fileno(), False)
        for pipe in self._pipes.values():
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
        self.read_on()

    def listen(self) -> Listener:
        """Return a listener from now on; its first event holds the pid."""
        listener = Listener(self)
        listener.put(json.dumps({"event": {"start": {"pid": self.pid}}}).encode())
        self.listeners.add(listener)
        return listener

    def signal(self, number: int) -> None:
        """Signal this process without its children (docs/e2b.md section 5.6).

        After a signal that ends it nothing more is read, so a child that holds the output does not
        delay the end, and what it prints later is lost.
        """
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
        if number in ENDING_SIGNALS and not self._is_cut:
            self._is_cut = True
            self.read_on()
            self._reap()

    async def write(self, data: bytes) -> None:
        """Write all data to stdin. Raise `BrokenPipeError` when stdin is not open."""
        async with self._stdin_lock:
            while data:
                pipe = self._popen.stdin
                if pipe is None or pipe.closed:
                    raise BrokenPipeError("stdin not enabled or closed")
                try:
                    data = data[os.write(pipe.fileno(), data) :]
                except BlockingIOError:
                    await self._writable(pipe)

    async def _writable(self, pipe: IO[bytes]) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()

        def tell() -> None:
            if not ready.done():
                ready.set_result(None)

        self._loop.add_writer(pipe, tell)
        try:
            await ready
        finally:
            if not pipe.closed:
                self._loop.remove_writer(pipe)

    def close_stdin(self) -> None:
        """Close the input of the command."""
        if self._popen.stdin and not self._popen.stdin.closed:
            self._loop.remove_writer(self._popen.stdin)
            self._popen.stdin.close()

    def read_on(self) -> None:
        """Read while every listener keeps up; without a listener, read and discard."""
        kept_up = all(item.waiting_bytes < LISTENER_BYTES for item in self.listeners)
        wanted = kept_up and not self._is_cut
        for name, pipe in self._pipes.items():
            if pipe is None or wanted == (name in self._reading):
                continue
            if wanted:
                self._reading.add(name)
                self._loop.add_reader(pipe, self._read, name, pipe)
            else:
                self._reading.discard(name)
                self._loop.remove_reader(pipe)

    def _read(self, name: str, pipe: IO[bytes]) -> None:
        try:
            data = os.read(pipe.fileno(), CHUNK_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._close_pipe(name)
            self._reap()
        elif self.listeners:
            self._tell(b'{"event":{"data":{"%b":"%b"}}}' % (name.encode(), base64.b64encode(data)))
            self.read_on()

    def _close_pipe(self, name: str) -> None:
        pipe = self._pipes[name]
        if pipe is not None:
            self._loop.remove_reader(pipe)
            self._reading.discard(name)
            pipe.close()
            self._pipes[name] = None

    def _reap(self) -> None:
        if self.end_event or (any(self._pipes.values()) and not self._is_cut):
            return
        if self._popen.poll() is None:
            # It closed its output and runs on, or is about to be gone.
            if self._pidfd < 0:
                self._pidfd = os.pidfd_open(self.pid)
                self._loop.add_reader(self._pidfd, self._reap)
            return
        self._finish()

    def _finish(self) -> None:
        for name in self._pipes:
            self._close_pipe(name)
        self._close_pidfd()
        self.close_stdin()
        if self.deadline:
            self.deadline.cancel()
        self.end_event = _end_event(self._popen.returncode)
        self._tell(self.end_event)
        self._tell(None)
        self._on_end(self)

    def _close_pidfd(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _tell(self, event: Event) -> None:
        for listener in self.listeners:
            listener.put(event)

    def lose(self, message: str | None) -> subprocess.Popen[bytes]:
        """Detach from the command because its sandbox ends; its killer waits for it."""
        for name in self._pipes:
            self._close_pipe(name)
        self._close_pidfd()
        self.close_stdin()
        if self.deadline:
            self.deadline.cancel()
        self.drop_listeners(message)
        return self._popen

    def drop_listeners(self, message: str | None) -> None:
        """End every stream of the command; the command itself continues."""
        self._tell(Lost(message))


class UserNamespace:
    """Lets commands run as the user of a sandbox: uid 1000, without privileges.

    The files of the sandboxes belong to whoever runs this server. In the namespace they belong to
    uid 1000, which may not read what it has closed to itself, even when this server runs as root.
    Where a machine allows no user namespaces the commands run as whoever runs this server.
    """

    def __init__(self) -> None:
        self._fd = _open_namespace()

    @property
    def is_available(self) -> bool:
        """True when commands run in the namespace."""
        return self._fd >= 0

    def command(self, arguments: list[str], user: str) -> list[str]:
        """Return the arguments that run a command as `user`; exit code 127 if it is missing."""
        if user == "root" or not self.is_available:
            return [_program("nice"), "-n", "0", *arguments]
        entered = f"--user=/proc/{os.getpid()}/fd/{self._fd}"
        return [_program("nsenter"), entered, "--preserve-credentials", "--", *arguments]

    def close(self) -> None:
        """Let the namespace end."""
        if self.is_available:
            os.close(self._fd)
            self._fd = -1


def _program(name: str) -> str:
    # The PATH of a command is its own affair.
    return shutil.which(name) or name


def _open_namespace() -> int:
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        return -1
    maps = [f"--map-user={USER_ID}", f"--map-group={USER_ID}"]
    holder = ["unshare", "--user", *maps, "sh", "-c", "echo ready; read -r end"]
    with subprocess.Popen(
        holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout
        is_ready = process.stdout.readline() == b"ready\n"
        return os.open(f"/proc/{process.pid}/ns/user", os.O_RDONLY) if is_ready else -1


def _end_event(code: int) -> bytes:
    """Return the end in the words of Go's os.ProcessState (docs/e2b.md section 5.4)."""
    if code < 0:
        status = f"signal: {signal.strsignal(-code)}".lower()
        end = {"exitCode": -1, "exited": False, "status": status, "error": status}
    else:
        end = {"exitCode": code, "exited": True, "status": f"exit status {code}"}
        if code:
            end["error"] = end["status"]
    return json.dumps({"event": {"end": end}}).encode()


def open_group() -> subprocess.Popen[bytes]:
    """Start the leader of a process group for commands; the group lasts until it is waited for."""
    return subprocess.Popen(["true"], close_fds=False, process_group=0)
