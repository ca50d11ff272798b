"""Defines what stands between the commands of a sandbox in a folder and this machine.

Local sandboxes have no boundary: their commands see and do what the user of the server may.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import anyio

from utils.sandboxes.local.commands import Listen
from utils.sandboxes.local.orders import CommandLimits, Enclosure, ViewOrder
from utils.sandboxes.protocol import SandboxRequest


class Boundary(Protocol):
    """The boundary of one sandbox."""

    environment: Mapping[str, str]
    """Variables that every command gets, instead of those of the server."""

    listen: Listen | None
    """Serves the network that the commands have to themselves; None when they use the server's."""

    view: ViewOrder | None
    """Shows the commands a part of this machine; None when they see all of it."""

    def enclose(
        self, limits: CommandLimits, *, writable: str = "", source: str = ""
    ) -> Enclosure | None:
        """Return what one command gets of its own in the view.

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
    view: ViewOrder | None = None

    def enclose(
        self,
        limits: CommandLimits,  # noqa: ARG002 - the supervisor enforces them
        *,
        writable: str = "",  # noqa: ARG002 - everything is
        source: str = "",  # noqa: ARG002 - everything is readable
    ) -> Enclosure | None:
        """See `Boundary`."""
        return None

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
