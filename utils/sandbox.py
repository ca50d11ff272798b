"""Where a task runs: the protocol every kind of sandbox fulfils."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from utils.models import CommandResult

OutputHandler = Callable[[str, bytes], None]
"""Called with `stdout` or `stderr` and a piece of output, in order within each stream."""


class Mirror(Protocol):
    """A copy of one branch that outlives the sandbox and makes the next clone cheap."""

    path: str
    """Where it is inside the sandbox; empty when there is none."""

    async def settle(self, *, repository: str, base_commit: str, outdated: bool) -> None:
        """Tell how the clone went: a missing mirror is made from it, an outdated one removed."""


@dataclass(frozen=True, slots=True)
class SandboxPaths:
    """Absolute paths inside a sandbox."""

    home: str
    repository: str
    work: str
    """Ours: scripts, prompt and results; outside the repository."""


class Sandbox(Protocol):
    """A place of its own for one task. Every verb raises `SandboxError` when it is gone."""

    id: str
    kind: str
    paths: SandboxPaths

    async def write_files(self, files: Mapping[str, bytes]) -> None:
        """Write files at absolute paths, parents included."""

    async def read_files(self, paths: Sequence[str], *, max_bytes: int) -> dict[str, bytes | None]:
        """Return the contents by path; None for a file above `max_bytes`, absent if missing."""

    async def run(
        self,
        arguments: Sequence[str],
        *,
        timeout_seconds: float,
        directory: str | None = None,
        environment: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        on_output: OutputHandler | None = None,
    ) -> CommandResult:
        """Run a command to its end; failing and timing out are values, not exceptions.

        With `on_output` the output is handed over as it comes and the result holds none. The
        environment is a small allow-list plus `environment`. When the caller is cancelled, or
        the time is over, all processes of the command are dead before this returns; processes
        that a finished command left behind are ended too.
        """

    def mirror(self, repo_url: str, branch: str) -> AbstractAsyncContextManager[Mirror]:
        """Hold the mirror of a branch, alone, while it is cloned from."""

    async def close(self) -> None:
        """End every process and remove every file of the sandbox. Safe to call twice."""


class SandboxProvider(Protocol):
    """Opens sandboxes of one kind."""

    kind: str

    async def open(self, task_id: int) -> Sandbox:
        """Make a sandbox. Raises `SandboxError`."""

    async def sweep(self) -> None:
        """Remove what an earlier process of this server left behind."""
