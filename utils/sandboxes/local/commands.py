"""Runs commands through the supervisor, a process of its own that ends everything they leave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import anyio
from anyio import to_thread

from utils.errors import SandboxError
from utils.models.runs import KILLED
from utils.sandboxes.local.namespace import SEPARATE
from utils.sandboxes.local.orders import (
    KeeperConnection,
    Order,
    ProcessorOrder,
    ViewOrder,
    new_connection,
)
from utils.sandboxes.local.usage import IS_LINUX
from utils.sandboxes.separation.messages import HEADER

PROJECT = Path(__file__).parents[3]
NAMESPACE = Path(__file__).with_name("namespace.py")

_NOT_STARTED = "The supervisor of local sandboxes could not be started."

_NO_NETWORK = (
    "This machine does not let a sandbox have a network of its own. Run ./run.sh doctor, which "
    "tells what to change."
)

_NO_VIEW = (
    "bubblewrap could not isolate the sandbox. Run ./run.sh doctor, which tells what to change."
)

STREAM_BYTES = 65_536

START_SECONDS = 30.0
"""Longest wait for the start of a command."""

READY_SECONDS = 60.0
"""Longest wait of a keeper for a sandbox: a server without tasks shall have no such process."""

STOP_SECONDS = 8.0
"""Longest wait for the end of a command, whose processes may hang in the kernel."""


class Command:
    """A command. `exit_code` and `exceeded_limit` count once it has ended."""

    def __init__(self, keeper: Keeper) -> None:
        loop = asyncio.get_running_loop()
        self.exit_code = KILLED
        self.exceeded_limit = ""
        self.stdout = asyncio.StreamReader(STREAM_BYTES, loop)
        self.stderr = asyncio.StreamReader(STREAM_BYTES, loop)
        self._keeper = keeper
        self._has_ended = False

    async def wait(self) -> None:
        """Wait until the command and everything that it started have ended."""
        word, values = await self._keeper.read_answer()
        if word == "ended":
            code, _, self.exceeded_limit = values.partition(" ")
            self.exit_code = int(code)
        else:
            # The agent has killed the keeper.
            await self._keeper.replace()
        self._has_ended = True

    async def end(self) -> None:
        """Kill the command with everything that it started, unless it has ended."""
        if not self._has_ended:
            self._keeper.order_end()
            with anyio.move_on_after(STOP_SECONDS):
                await self.wait()
        if not self._has_ended:
            # The agent has stopped the keeper (SIGSTOP).
            await self._keeper.replace()
            self._has_ended = True


Listen = Callable[[socket.socket], Awaitable[None]]
"""Called with the socket on which the proxy of a private network listens."""


class Keeper:
    """The process that runs the commands of one sandbox, one at a time.

    With `listen` the commands have a network of their own, with `view` they share a view, and with
    `processors` they use no others.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        listen: Listen | None = None,
        view: ViewOrder | None = None,
        processors: ProcessorOrder | None = None,
    ) -> None:
        self._supervisor = supervisor
        self._listen = listen
        # The view is built by a process that keeps to the processors.
        self._first = [order.text() for order in (processors, view) if order]
        self._turn = asyncio.Lock()
        self._connection: KeeperConnection | None = None

    @asynccontextmanager
    async def run(self, order: Order) -> AsyncIterator[Command]:
        """Run a command during the block; at its end all of its processes are dead.

        Raises `SandboxError` when the command cannot be started.
        """
        async with self._turn, AsyncExitStack() as stack:
            command = await self._start(order, stack) or await self._start(order, stack)
            if command is None:
                raise SandboxError("The supervisor of local sandboxes ends. Restart the server.")
            try:
                yield command
            finally:
                with anyio.CancelScope(shield=True):
                    await command.end()

    async def _start(self, order: Order, stack: AsyncExitStack) -> Command | None:
        """Start a command; return None when there was no keeper to do it."""
        command = Command(self)
        name = Path(order.arguments[0]).name
        with ExitStack() as sent:
            files = [
                await _open_input(order.stdin, sent),
                await _open_output(command.stdout, stack, sent),
                await _open_output(command.stderr, stack, sent),
            ]
            try:
                # A command that was ordered has to be ended, so it must be known.
                with anyio.fail_after(START_SECONDS, shield=True):
                    return command if await self._begin(order, files, name) else None
            except TimeoutError as error:
                await self.replace()
                raise SandboxError(f"The local sandbox could not start {name} in time.") from error

    async def _begin(self, order: Order, files: Sequence[int], name: str) -> bool:
        connection = self._connection or await self._call()
        if not connection.process and not await self._meet(connection):
            return False
        try:
            connection.order_with(files, order.text())
        except OSError:
            await self.replace()
            return False
        word, text = await connection.read_answer()
        if word == "refused":
            raise SandboxError(f"{_NO_VIEW} ({text})")
        if word == "failed":
            reason = os.strerror(int(text))
            raise SandboxError(f"The local sandbox could not start {name}: {reason}.")
        # Without an answer the command may have killed the keeper at once.
        return True

    async def prepare(self) -> None:
        """Have the keeper started for the first command, without a wait for it."""
        async with self._turn:
            if self._connection is None:
                await self._call()

    async def _call(self) -> KeeperConnection:
        """Order the keeper, and what it does before the first command."""
        self._connection = await self._supervisor.call_keeper(with_network=bool(self._listen))
        for text in self._first:
            self._connection.order(text)
        return self._connection

    async def _meet(self, connection: KeeperConnection) -> bool:
        """Wait for the keeper; return False without one. Raises `SandboxError`."""
        word, value = await connection.read_answer()
        if word == "failed":
            self.close()
            raise SandboxError(f"{_NO_NETWORK} ({os.strerror(int(value))})")
        if word != "keeper":
            self._supervisor.close()
            await self.replace()
            return False
        connection.process = int(value)
        if self._listen:
            await self._listen(connection.receive_listening())
        return True

    async def read_answer(self) -> tuple[str, str]:
        """Return the first word and the rest of the next line; empty when the keeper has ended."""
        return await self._connection.read_answer() if self._connection else ("", "")

    def order_end(self) -> None:
        """Tell the keeper to end the command."""
        if self._connection:
            self._connection.order(b"")

    async def replace(self) -> None:
        """Have another keeper for the next command; this one and its processes are killed."""
        killed = self._connection.process if self._connection else 0
        self.close()
        await self._supervisor.end_orphans(killed)

    def close(self) -> None:
        """End the keeper."""
        if self._connection:
            self._connection.close()
            self._connection = None


class _ReadyKeeper(NamedTuple):
    """A keeper that waits for a sandbox, until a timer, or the end of the supervisor, ends it."""

    connection: KeeperConnection
    timer: asyncio.TimerHandle
    end: weakref.finalize[[], Supervisor]


class Supervisor:
    """The connection to the supervisor. It starts with the first command, or after it was killed.

    For use on one event loop.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._lock = asyncio.Lock()
        self._requests: socket.socket | None = None
        self._starts = 0
        self._is_separate = True
        self._making = asyncio.Lock()
        self._ready: _ReadyKeeper | None = None

    @property
    def ends_all(self) -> bool:
        """True when no process can have left a command."""
        return IS_LINUX and (self._is_separate or self._starts <= 1)

    async def call_keeper(self, *, with_network: bool) -> KeeperConnection:
        """Return the connection to a keeper; when none starts, no answer comes.

        With a network of its own it may be one that was ready.
        """
        ready = self._take_ready() if with_network else None
        connection = ready or await self._new_keeper(with_network=with_network)
        try:
            await connection.open()
        except BaseException:
            connection.close()
            raise
        return connection

    async def _new_keeper(self, *, with_network: bool) -> KeeperConnection:
        with ExitStack() as ends:
            connection, theirs = new_connection(ends, with_network=with_network)
            try:
                async with self._lock:
                    requests = self._requests or await self._open()
                    try:
                        socket.send_fds(requests, [b"c"], [one.fileno() for one in theirs])
                    except OSError:
                        self.close()
            except BaseException:
                connection.close()
                raise
        return connection

    async def make_ready(self) -> None:
        """Have a keeper with a network ready for the next sandbox, for `READY_SECONDS`."""
        async with self._making:
            if self._requests is None or self._ready:
                return
            # Otherwise the next sandbox only waits for it.
            with contextlib.suppress(OSError, SandboxError):
                connection = await self._new_keeper(with_network=True)
                end = weakref.finalize(self, connection.close)
                timer = asyncio.get_running_loop().call_later(READY_SECONDS, self._end_ready)
                self._ready = _ReadyKeeper(connection, timer, end)

    def _take_ready(self) -> KeeperConnection | None:
        ready, self._ready = self._ready, None
        if ready is None:
            return None
        ready.timer.cancel()
        ready.end.detach()
        return ready.connection

    def _end_ready(self) -> None:
        if ready := self._take_ready():
            ready.close()

    async def _open(self) -> socket.socket:
        requests, is_separate = await to_thread.run_sync(_start_supervisor, self._environment)
        self._is_separate = self._is_separate and is_separate
        requests.settimeout(0)
        weakref.finalize(self, requests.close)
        self._requests = requests
        self._starts += 1
        return requests

    async def end_orphans(self, killed: int) -> None:
        """Wait until the processes of a keeper that was killed are dead."""
        loop = asyncio.get_running_loop()
        async with self._lock:
            if self._requests is None:
                return
            try:
                with anyio.fail_after(STOP_SECONDS):
                    await loop.sock_sendall(self._requests, b"o" + HEADER.pack(killed))
                    await loop.sock_recv(self._requests, 1)
            except OSError:
                self.close()

    def close(self) -> None:
        """End the supervisor as soon as its commands have ended."""
        self._end_ready()
        if self._requests is not None:
            self._requests.close()
            self._requests = None


def _start_supervisor(environment: Mapping[str, str]) -> tuple[socket.socket, bool]:
    """Return the connection to a new supervisor, and whether it has a namespace of its own."""
    ours, theirs = socket.socketpair()
    with theirs:
        # They import nothing of this project and no installed package.
        interpreter = (sys.executable, "-I", "-S", "-X", "utf8")
        try:
            # Returns when the supervisor has moved to the background.
            begun = subprocess.run(
                [*interpreter, str(NAMESPACE), str(PROJECT), str(theirs.fileno())],
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                check=False,
            )
        except OSError as error:
            ours.close()
            raise SandboxError(_NOT_STARTED) from error
    if begun.returncode not in {0, SEPARATE}:
        ours.close()
        raise SandboxError(_NOT_STARTED)
    return ours, begun.returncode == SEPARATE


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
