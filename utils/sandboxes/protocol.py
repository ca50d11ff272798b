"""Defines the protocol that every kind of sandbox implements, and what a kind can do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from utils.models.runs import CommandResult

OutputHandler = Callable[[str, bytes], None]
"""Called with `stdout` or `stderr` and a piece of output, in order within each stream."""


class Mirror(Protocol):
    """A copy of one branch that outlives the sandbox and makes the next clone cheap."""

    path: str
    """The path inside the sandbox; empty if there is none."""

    async def settle(self, *, repository: str, base_commit: str, outdated: bool) -> None:
        """Tell how the clone went: a missing mirror is made from it, an outdated one removed."""


@dataclass(frozen=True, slots=True)
class SandboxPaths:
    """Absolute paths inside a sandbox."""

    home: str
    repository: str
    work: str
    """Ours: scripts, prompt and results; outside the repository."""


@dataclass(frozen=True, slots=True)
class EgressHeader:
    """A header that the sandbox's network adds to every request to a host."""

    host: str
    name: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SandboxRequest:
    """The task that a sandbox is for, and its lifetime."""

    task_id: int
    user_id: str
    attempt: int
    lifetime_seconds: float
    template_id: str | None = None
    egress: tuple[EgressHeader, ...] = ()


@dataclass(frozen=True, slots=True)
class AgentCommand:
    """The start of an agent: its directory, and an optional file as its standard input."""

    arguments: Sequence[str]
    directory: str
    stdin_path: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


class Sandbox(Protocol):
    """A place of its own for one task. Every verb raises `SandboxError` when it is gone."""

    id: str
    paths: SandboxPaths
    survives: bool
    """True when it outlives this process and `SandboxProvider.attach` can find it."""

    async def write_files(self, files: Mapping[str, bytes]) -> None:
        """Write files at absolute paths, parents included."""

    async def read_files(self, paths: Sequence[str], *, max_bytes: int) -> dict[str, bytes | None]:
        """Return the contents by path; None for a file above `max_bytes`, absent if missing."""

    async def run(
        self,
        arguments: Sequence[str],
        *,
        timeout_seconds: float,
        environment: Mapping[str, str] | None = None,
        stdin: str = "",
        repeatable: bool = False,
    ) -> CommandResult:
        """Run a command of ours to its end; failing and timing out are values, not exceptions.

        With `repeatable` it is run again when the connection to the sandbox broke under it.

        The environment is a small allow-list plus `environment`. Output above a megabyte is
        dropped, and what is not UTF-8 may be replaced: results travel in files. When the caller is
        cancelled, or the time is over, the process group of the command is dead before the sandbox
        runs the next one. What has left the group ends with the sandbox.
        """

    async def run_agent(
        self,
        command: AgentCommand,
        *,
        timeout_seconds: float,
        on_output: OutputHandler,
    ) -> CommandResult:
        """Run the agent and hand over what it prints as it comes; the result holds none of it.

        Where the sandbox survives, the agent runs whatever happens to this process; when it was
        started already, in this process or an earlier one, it is followed from its first byte
        instead. Ended by cancelling the caller or by the time, as `run` is; where the sandbox
        survives, with it what has left its group and kept its environment.
        """

    def mirror(self, repo_url: str, branch: str) -> AbstractAsyncContextManager[Mirror]:
        """Hold the mirror of a branch, alone, while it is cloned from."""

    async def withdraw_egress(self, keep: Collection[EgressHeader]) -> None:
        """Have the network add nothing any more but the given headers."""

    async def keep_alive(self) -> None:
        """Prolong the sandbox's life until cancelled."""

    async def close(self) -> None:
        """End every process and remove every file of the sandbox. Safe to call twice."""


class SandboxProvider(Protocol):
    """Opens sandboxes of one kind."""

    kind: SandboxKind

    async def open(self, request: SandboxRequest) -> Sandbox:
        """Make a sandbox. Raises `SandboxError`; see there which of them may pass."""

    async def attach(self, sandbox_id: str, request: SandboxRequest) -> Sandbox:
        """Find a sandbox that survived. Raises `SandboxError`."""

    async def end(self, sandbox_id: str) -> None:
        """End a sandbox that was not attached to; what cannot be ended is found by the next sweep.

        Never raises `SandboxError`, and is not cut short by a cancel.
        """

    def leave(self, sandbox_id: str) -> None:
        """Let go of a sandbox whose work goes on; from now on a sweep may end it."""

    async def sweep(self, known: Collection[str]) -> None:
        """End sandboxes that an earlier process left behind; those with a known id are left.

        Where they survive, this may be called at any time. Raises `SandboxError`.
        """

    async def close(self) -> None:
        """Wait for what is still being ended."""


def no_warnings() -> Sequence[str]:
    """Return no warnings: this kind of sandbox depends on no installed library."""
    return ()


@dataclass(frozen=True, slots=True)
class SandboxKind:
    """Describes one kind of sandbox: its name and what it can do.

    The package of a kind has one value of it, in a file that imports no SDK.
    """

    name: str
    """The value of the setting SANDBOX, and the mode in /health/ready."""

    place: str
    """Completes the sentence "tasks run in ..."."""

    default_concurrency: int
    """Tasks that run at once when MAX_CONCURRENT_TASKS is not set."""

    is_paced: bool
    """True when the provider limits how fast sandboxes are opened."""

    sees_this_machine: bool
    """True when commands in a sandbox use the network, files and programs of this machine."""

    has_egress: bool
    """True when the network of a sandbox can add headers to requests (SECRETS_MODE=egress)."""

    survives: bool
    """True when a sandbox lives on without this process, and `attach` finds it again."""

    version_warnings: Callable[[], Sequence[str]] = no_warnings
    """Return a sentence for each installed library in another version than the tested one."""
