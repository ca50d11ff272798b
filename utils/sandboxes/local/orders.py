"""Describes commands to the keeper that runs them, and connects the server with it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import lru_cache

from utils.sandboxes.separation.messages import HEADER

SCRIPT_CHARACTERS, SCRIPTS = 1_000, 32
"""Length from which an encoded argument is kept, and how many are."""


@dataclass(frozen=True, slots=True)
class CommandLimits:
    """Limits of a command with everything that it starts; `folder` is that of its sandbox."""

    memory_bytes: int
    processes: int
    disk_bytes: int
    folder: str = ""


NO_LIMITS = CommandLimits(2**62, 2**62, 2**62)


@dataclass(frozen=True, slots=True)
class ViewOrder:
    """Describes what the commands of a sandbox see; see `utils.sandboxes.separation`.

    `command` is the start of a command that runs another one in the view, `closed` the places in
    it that the commands may not change.
    """

    command: Sequence[str]
    closed: Sequence[str]

    def text(self) -> bytes:
        """Return the order as the keeper reads it."""
        return json.dumps({"view": asdict(self)}).encode()


@dataclass(frozen=True, slots=True)
class ProcessorOrder:
    """Names the processors that all commands of a sandbox may use."""

    numbers: Sequence[int]

    def text(self) -> bytes:
        """Return the order as the keeper reads it."""
        return json.dumps({"processors": list(self.numbers)}).encode()


@dataclass(frozen=True, slots=True)
class Enclosure:
    """Describes what one command has of its own in the view, and its limits for good.

    `trees` are folders or files of this machine, and whether the command may change them.
    """

    trees: Sequence[tuple[str, bool]]
    largest_file_bytes: int
    threads: int


@dataclass(frozen=True, slots=True)
class Order:
    """The description of a command; `stdin` is text or an open file."""

    arguments: Sequence[str]
    directory: str
    environment: Mapping[str, str]
    limits: CommandLimits
    stdin: int | bytes | None = None
    enclosure: Enclosure | None = None

    def text(self) -> bytes:
        """Return the order as the keeper reads it."""
        arguments = ",".join(map(_encoded, self.arguments))
        rest = json.dumps(
            {
                "directory": self.directory,
                "environment": dict(self.environment),
                "limits": asdict(self.limits),
                "enclosure": asdict(self.enclosure) if self.enclosure else None,
            }
        )
        return f'{{"arguments":[{arguments}],{rest[1:]}'.encode()


def _encoded(argument: str) -> str:
    # Long ones are our scripts, of which there are few.
    return _encoded_script(argument) if len(argument) >= SCRIPT_CHARACTERS else json.dumps(argument)


_encoded_script = lru_cache(maxsize=SCRIPTS)(json.dumps)


class KeeperConnection:
    """The server's ends of the connections to one keeper.

    `process` is that of the keeper, 0 until it has told its number.
    """

    def __init__(self, control: socket.socket, network: socket.socket | None) -> None:
        self.process = 0
        self._control = control
        self._network = network
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        """Begin to use it on the event loop."""
        self._streams = await asyncio.open_connection(sock=self._control)

    def order(self, description: bytes) -> None:
        """Send an order without files; when the keeper has ended, no answer comes."""
        if self._streams:
            self._streams[1].write(HEADER.pack(len(description)) + description)

    def order_with(self, files: Sequence[int], description: bytes) -> None:
        """Send an order with open files. Raises `OSError`."""
        assert self._streams is not None  # noqa: S101 - open
        # Nothing is waiting to be sent: the keeper has read the orders before.
        socket.send_fds(self._control, [HEADER.pack(len(description))], files)
        self._streams[1].write(description)

    async def read_answer(self) -> tuple[str, str]:
        """Return the first word and the rest of the next line; empty when the keeper has ended."""
        line = b""
        if self._streams:
            with contextlib.suppress(ConnectionError):
                line = await self._streams[0].readline()
        word, _, values = line.decode().rstrip().partition(" ")
        return word, values

    def receive_listening(self) -> socket.socket:
        """Return the socket that the keeper has sent before it told its number."""
        assert self._network is not None  # noqa: S101 - it has one of its own
        self._network.settimeout(0)
        _, descriptors, _, _ = socket.recv_fds(self._network, 1, 1)
        os.set_inheritable(descriptors[0], False)  # noqa: FBT003
        received = socket.socket(fileno=descriptors[0])
        received.settimeout(0)
        return received

    def close(self) -> None:
        """End the keeper."""
        if self._streams:
            self._streams[1].close()
        else:
            self._control.close()
        if self._network:
            self._network.close()


def new_connection(
    ends: ExitStack, *, with_network: bool
) -> tuple[KeeperConnection, Sequence[socket.socket]]:
    """Return a connection and the ends of the keeper to be, which `ends` closes."""
    ours, theirs = socket.socketpair()
    ours.settimeout(0)
    sent, network = [ends.enter_context(theirs)], None
    if with_network:
        network, network_end = socket.socketpair()
        sent.append(ends.enter_context(network_end))
    return KeeperConnection(ours, network), sent
