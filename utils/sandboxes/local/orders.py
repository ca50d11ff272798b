"""Describes commands to the keeper that runs them, and what stands around them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass


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
        return json.dumps(
            {
                "arguments": list(self.arguments),
                "directory": self.directory,
                "environment": dict(self.environment),
                "limits": asdict(self.limits),
                "enclosure": asdict(self.enclosure) if self.enclosure else None,
            }
        ).encode()
