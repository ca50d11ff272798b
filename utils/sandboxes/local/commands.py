"""Runs commands through the supervisor, a process of its own that ends everything they leave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import anyio
from anyio import to_thread

from utils.errors import SandboxError
from utils.models.runs import KILLED
from utils.sandboxes.local.supervisor import HEADER, IS_LINUX

SUPERVISOR = Path(__file__).with_name("supervisor.py")

STREAM_BYTES = 65_536

START_SECONDS = 30.0
"""Longest wait for the start of a command."""

STOP_SECONDS = 8.0
"""Longest wait for the end of a command, whose processes may hang in the kernel."""

# The server must answer requests while tasks run on the same machine.
TASK_NICENESS = 5


@dataclass(frozen=True, slots=True)
class CommandLimits:
    """Limits of a command with everything that it starts; `folder` is that of its sandbox."""

    memory_bytes: int
    processes: int
    disk_bytes: int
    folder: str = ""


NO_LIMITS = CommandLimits(2**62, 2**62, 2**62)


@dataclass(frozen=True, slots=True)
class Order:
    """The description of a command; `stdin` is text or an open file."""

    arguments: Sequence[str]
    directory: str
    environment: Mapping[str, str]
    limits: CommandLimits
    stdin: int | bytes | None = None

    def text(self) -> bytes:
        """Return the order as the supervisor reads it."""
        return json.dumps(
            {
                "arguments": list(self.arguments),
                "directory": self.directory,
                "environment": dict(self.environment),
                "limits": asdict(self.limits),
                "niceness": TASK_NICENESS,
            }
        ).encode()


class Command:
    """A command. `exit_code` and `exceeded_limit` count once it has ended."""

    def __init__(self, supervisor: Supervisor) -> None:
        loop = asyncio.get_running_loop()
        self.exit_code = KILLED
        self.exceeded_limit = ""
        self.stdout = asyncio.StreamReader(STREAM_BYTES, loop)
        self.stderr = asyncio.StreamReader(STREAM_BYTES, loop)
        self._supervisor = supervisor
        self._answers: asyncio.StreamReader | None = None
        self._control: asyncio.StreamWriter | None = None
        self._keeper = 0

    async def connect(self, control: socket.socket, order: Order, stack: AsyncExitStack) -> None:
        """Send the order; `stack` closes the ends of this process."""
        with ExitStack() as sent:
            files = [
                await _open_input(order.stdin, sent),
                await _open_output(self.stdout, stack, sent),
                await _open_output(self.stderr, stack, sent),
            ]
            text = order.text()
            socket.send_fds(control, [HEADER.pack(len(text))], files)
        self._answers, self._control = await asyncio.open_connection(sock=control)
        stack.callback(self._control.close)
        self._control.write(text)

    async def begin(self, name: str) -> bool:
        """Wait until the command runs; return False when the supervisor ended meanwhile.

        Raises `SandboxError` when the command cannot be started.
        """
        word, keeper = await self._read_answer()
        if word != "keeper":
            return False
        self._keeper = int(keeper)
        word, number = await self._read_answer()
        if word == "failed":
            self._keeper = 0
            reason = os.strerror(int(number))
            raise SandboxError(f"The local sandbox could not start {name}: {reason}.")
        return True

    async def wait(self) -> None:
        """Wait until the command and everything that it started have ended."""
        word, values = await self._read_answer()
        if word == "ended":
            code, _, self.exceeded_limit = values.partition(" ")
            self.exit_code = int(code)
        else:
            # The agent has killed the keeper of its command.
            await self._supervisor.end_orphans()
        self._keeper = 0

    async def end(self) -> None:
        """Kill the command with everything that it started, unless it has ended."""
        if self._keeper and self._control:
            with contextlib.suppress(OSError):
                self._control.write_eof()
            with anyio.move_on_after(STOP_SECONDS):
                await self.wait()
        if self._keeper:
            # The agent has stopped the keeper (SIGSTOP).
            with contextlib.suppress(OSError):
                os.kill(self._keeper, signal.SIGKILL)
            await self.wait()

    async def _read_answer(self) -> tuple[str, str]:
        assert self._answers is not None  # noqa: S101 - connected before
        line = b""
        with contextlib.suppress(ConnectionError):
            line = await self._answers.readline()
        word, _, values = line.decode().rstrip().partition(" ")
        return word, values


class Supervisor:
    """The connection to the supervisor. It starts with the first command, or after it was killed.

    For use on one event loop.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._lock = asyncio.Lock()
        self._requests: socket.socket | None = None
        self._starts = 0

    @property
    def ends_all(self) -> bool:
        """True when no process can have left a command."""
        return IS_LINUX and self._starts <= 1

    @asynccontextmanager
    async def run(self, order: Order) -> AsyncIterator[Command]:
        """Run a command during the block; at its end all of its processes are dead.

        Raises `SandboxError` when the command cannot be started.
        """
        async with AsyncExitStack() as stack:
            command = await self._start(order, stack) or await self._start(order, stack)
            if command is None:
                raise SandboxError("The supervisor of local sandboxes ends. Restart the server.")
            try:
                yield command
            finally:
                with anyio.CancelScope(shield=True):
                    await command.end()

    async def _start(self, order: Order, stack: AsyncExitStack) -> Command | None:
        """Start a command; return None when the supervisor was killed meanwhile."""
        command = Command(self)
        ours, theirs = socket.socketpair()
        with ExitStack() as on_failure, theirs:
            on_failure.callback(ours.close)
            ours.settimeout(0)
            await command.connect(ours, order, stack)
            on_failure.pop_all()
            name = Path(order.arguments[0]).name
            try:
                # A command that was handed over has to be ended, so it must be known.
                with anyio.fail_after(START_SECONDS, shield=True):
                    await self._hand_over(theirs)
                    theirs.close()
                    if await command.begin(name):
                        return command
                self.close()
            except TimeoutError as error:
                self.close()
                raise SandboxError(f"The local sandbox could not start {name} in time.") from error
        return None

    async def _hand_over(self, theirs: socket.socket) -> None:
        async with self._lock:
            requests = self._requests or await self._open()
            try:
                socket.send_fds(requests, [b"c"], [theirs.fileno()])
            except OSError:
                # The answer will be missing.
                self.close()

    async def _open(self) -> socket.socket:
        requests = await to_thread.run_sync(_start_supervisor, self._environment)
        requests.settimeout(0)
        weakref.finalize(self, requests.close)
        self._requests = requests
        self._starts += 1
        return requests

    async def end_orphans(self) -> None:
        """Wait until the processes of commands whose keeper was killed are dead."""
        loop = asyncio.get_running_loop()
        async with self._lock:
            if self._requests is None:
                return
            try:
                with anyio.fail_after(STOP_SECONDS):
                    await loop.sock_sendall(self._requests, b"o")
                    await loop.sock_recv(self._requests, 1)
            except OSError:
                self.close()

    def close(self) -> None:
        """End the supervisor as soon as its commands have ended."""
        if self._requests is not None:
            self._requests.close()
            self._requests = None


def _start_supervisor(environment: Mapping[str, str]) -> socket.socket:
    ours, theirs = socket.socketpair()
    with theirs:
        # It imports nothing of this project and no installed package.
        interpreter = (sys.executable, "-I", "-S", "-X", "utf8")
        try:
            # Returns when the supervisor has moved to the background.
            subprocess.run(
                [*interpreter, str(SUPERVISOR), str(theirs.fileno())],
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                check=True,
            )
        except (OSError, subprocess.CalledProcessError) as error:
            ours.close()
            raise SandboxError("The supervisor of local sandboxes could not be started.") from error
    return ours


async def _open_input(stdin: int | bytes | None, sent: ExitStack) -> int:
    """Return what the command reads, which `sent` closes; an open file stays open."""
    if isinstance(stdin, int):
        return stdin
    if stdin is None:
        reading = os.open(os.devnull, os.O_RDONLY)
        sent.callback(os.close, reading)
        return reading
    reading, writing = os.pipe()
    sent.callback(os.close, reading)
    pipe = os.fdopen(writing, "wb", 0)
    transport, _ = await asyncio.get_running_loop().connect_write_pipe(asyncio.Protocol, pipe)
    # Closes when all is written, or when every reader has ended.
    transport.write(stdin)
    transport.close()
    return reading


async def _open_output(reader: asyncio.StreamReader, stack: AsyncExitStack, sent: ExitStack) -> int:
    """Return what the command writes to, which `sent` closes; `reader` receives it."""
    reading, writing = os.pipe()
    sent.callback(os.close, writing)
    protocol = asyncio.StreamReaderProtocol(reader)
    pipe = os.fdopen(reading, "rb", 0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
    stack.callback(transport.close)
    return writing
