"""Encloses the commands of one sandbox: its view of this machine, its limits and its network."""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping
from pathlib import Path

from utils.sandboxes.isolated.proxy import Proxy
from utils.sandboxes.isolated.view import PROGRAM, View
from utils.sandboxes.local.commands import Listen
from utils.sandboxes.local.orders import CommandLimits, Enclosure, ViewOrder

WALL = 4
"""The kernel refuses more threads than so many times the number of processes that ends a task."""


class IsolatedBoundary:
    """The boundary of one isolated sandbox."""

    def __init__(
        self, root: Path, view: View, environment: Mapping[str, str], proxy: Proxy
    ) -> None:
        self.environment = environment
        self.listen: Listen | None = proxy.serve
        # They look at the disk, which no command has to wait for.
        self._hidden = [path.resolve() for path in view.hidden]
        self.view: ViewOrder | None = ViewOrder(
            [PROGRAM, *view.arguments(root, root / "tmp"), "--"], view.closed()
        )
        self._proxy = proxy

    def enclose(
        self, limits: CommandLimits, *, writable: str = "", source: str = ""
    ) -> Enclosure | None:
        """See `Boundary`."""
        trees = [(source, False)] if source and self._is_source(Path(source)) else []
        return Enclosure(
            [(writable, True), *trees] if writable else trees,
            _capped(resource.RLIMIT_FSIZE, limits.disk_bytes),
            _capped(resource.RLIMIT_NPROC, WALL * limits.processes),
        )

    def _is_source(self, path: Path) -> bool:
        # Another sandbox, or a mirror of another user's repository, is no source.
        is_ours = any(map(path.resolve().is_relative_to, self._hidden))
        return path.is_absolute() and not is_ours

    async def watch(self, report: Callable[[str], None]) -> None:
        """See `Boundary`."""
        await self._proxy.report_refusals(report)

    async def close(self) -> None:
        """See `Boundary`."""
        await self._proxy.close()


def _capped(kind: int, limit: int) -> int:
    """Return a limit that is not above the one of the server, which it could not raise."""
    _, hard = resource.getrlimit(kind)
    # The kernel takes larger numbers for no limit at all.
    return min(limit, 2**62, *([] if hard == resource.RLIM_INFINITY else [hard]))
