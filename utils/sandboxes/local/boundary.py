"""Defines what stands between the commands of a sandbox in a folder and this machine.

Local sandboxes have no boundary: their commands see and do what the user of the server may.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import anyio

from utils.sandboxes.local.commands import CommandLimits, Listen
from utils.sandboxes.protocol import SandboxRequest


class Boundary(Protocol):
    """The boundary of one sandbox."""

    environment: Mapping[str, str]
    """Variables that every command gets, instead of those of the server."""

    listen: Listen | None
    """Serves the network that the commands have to themselves; None when they use the server's."""

    def enclose(
        self,
        arguments: Sequence[str],
        directory: str,
        limits: CommandLimits,
        *,
        writable: str = "",
        source: str = "",
    ) -> tuple[Sequence[str], str]:
        """Return the command that runs another one inside, and the directory to start it in.

        `writable` is a folder that this command alone may change, `source` one that it may read,
        with which it blocks.
        """

    async def watch(self, report: Callable[[str], None]) -> None:
        """Report what was refused, in words for the user, until cancelled."""

    async def close(self) -> None:
        """Release what the boundary needs. Safe to call twice."""


class NoBoundary:
    """Runs commands as they are."""

    environment: Mapping[str, str] = MappingProxyType({})
    listen: Listen | None = None

    def enclose(
        self,
        arguments: Sequence[str],
        directory: str,
        limits: CommandLimits,  # noqa: ARG002 - the supervisor enforces them
        *,
        writable: str = "",  # noqa: ARG002 - everything is
        source: str = "",  # noqa: ARG002 - everything is readable
    ) -> tuple[Sequence[str], str]:
        """See `Boundary`."""
        return arguments, directory

    async def watch(self, report: Callable[[str], None]) -> None:  # noqa: ARG002
        """See `Boundary`. Nothing is refused."""
        await anyio.sleep_forever()

    async def close(self) -> None:
        """See `Boundary`."""


NewBoundary = Callable[[Path, SandboxRequest], Boundary]
"""Returns the boundary of a sandbox in a folder. Blocks."""


def no_boundary(_root: Path, _request: SandboxRequest) -> Boundary:
    """Return the boundary of a local sandbox."""
    return NoBoundary()
