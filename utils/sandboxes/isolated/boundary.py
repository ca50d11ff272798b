"""Encloses the commands of one sandbox: its view of this machine, its limits and its network."""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from utils.sandboxes.isolated.proxy import Proxy
from utils.sandboxes.isolated.view import PROGRAM, View, read_only
from utils.sandboxes.local.commands import CommandLimits, Listen

WALL = 4
"""The kernel refuses more threads than so many times the number of processes that ends a task."""


# Limits for good, files in blocks of 512 bytes; shells differ in the letter for processes. Then the
# command, with the exit codes of shells for one that is missing or not executable.
_STARTED = (
    *("sh", "-c"),
    'ulimit -f "$1" && { ulimit -u "$2" || ulimit -p "$2"; } 2>/dev/null && ulimit -c 0 || exit; '
    'shift 2; exec "$@"',
    "sh",
)


class IsolatedBoundary:
    """The boundary of one isolated sandbox."""

    def __init__(
        self, root: Path, view: View, environment: Mapping[str, str], proxy: Proxy
    ) -> None:
        self.environment = environment
        self.listen: Listen | None = proxy.serve
        # They look at the disk, which no command has to wait for.
        self._hidden = [path.resolve() for path in view.hidden]
        self._arguments = view.arguments(root, root / "tmp")
        self._closed = view.closed()
        self._proxy = proxy

    def enclose(
        self,
        arguments: Sequence[str],
        directory: str,
        limits: CommandLimits,
        *,
        writable: str = "",
        source: str = "",
    ) -> tuple[Sequence[str], str]:
        """See `Boundary`."""
        shown = self._source(source) if source else ()
        command = [
            PROGRAM,
            *self._arguments,
            *(("--bind", writable, writable) if writable else ()),
            *shown,
            *self._closed,
            *("--chdir", directory, "--"),
            *_STARTED,
            str(_capped(resource.RLIMIT_FSIZE, limits.disk_bytes) // 512),
            str(_capped(resource.RLIMIT_NPROC, WALL * limits.processes)),
            *arguments,
        ]
        return command, "/"

    def _source(self, source: str) -> Sequence[str]:
        path = Path(source)
        # Another sandbox, or a mirror of another user's repository, is no source.
        is_ours = any(map(path.resolve().is_relative_to, self._hidden))
        return () if is_ours or not path.is_absolute() else read_only(path)

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
