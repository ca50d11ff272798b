"""Defines the protocol that every kind of sandbox implements, and what a kind can do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, Protocol

from utils.models.environments import NetworkPolicy
from utils.models.runs import CommandResult
from utils.sandboxes.snapshots import SnapshotKey

OutputHandler = Callable[[str, bytes], None]
"""Called with `stdout` or `stderr` and a piece of output, in order within each stream."""


class Mirror(Protocol):
    """A copy of one branch that outlives the sandbox and makes the next clone faster."""

    path: str
    """Its path inside the sandbox; empty without a mirror."""

    async def record_clone(self, *, repository: str, base_commit: str, outdated: bool) -> None:
        """Create a missing mirror from the finished clone; remove an outdated mirror."""


@dataclass(frozen=True, slots=True)
class SandboxPaths:
    """Absolute paths inside a sandbox."""

    home: str
    repository: str
    work: str
    """Folder of the backend: scripts, prompt and results; outside the repository."""

    def within(self, folder: str) -> SandboxPaths:
        """Return the paths of one of several repositories; without a folder, of the only one."""
        if not folder:
            return self
        return replace(
            self,
            repository=f"{self.repository}/{folder}",
            work=f"{self.work}/repositories/{folder}",
        )


@dataclass(frozen=True, slots=True)
class EgressHeader:
    """A header that the sandbox's network adds to every request to a host."""

    host: str
    name: str
    value: str = field(repr=False)


async def always() -> bool:
    """Return True: nobody else runs the task."""
    return True


@dataclass(frozen=True, slots=True)
class SandboxRequest:
    """A request for a sandbox: its task and user, and how long it may live.

    `age_seconds` is the part of that time that has passed when the sandbox is attached to.
    `template_id` is the id of a template, or a name that `SandboxProvider.templates` lists.
    `repo_urls` and `model_hosts` (`host` or `host:port`) are what its work has to reach.
    It starts from the snapshot of a key, if there is one. `network`, `memory_bytes` and `cpus`, a
    number of processors, narrow what the operator allows; they are only set for kinds that enforce
    them.
    `still_runs_here` is asked when another process seems to have taken over the sandbox.
    `record_id` is the row of a sandbox that belongs to no task; its `task_id` is 0.
    """

    task_id: int
    user_id: str
    attempt: int
    lifetime_seconds: float
    age_seconds: float = 0.0
    template_id: str | None = None
    egress: tuple[EgressHeader, ...] = ()
    repo_urls: tuple[str, ...] = ()
    model_hosts: tuple[str, ...] = ()
    snapshot: SnapshotKey | None = None
    network: NetworkPolicy | None = None
    memory_bytes: int | None = None
    cpus: int | None = None
    still_runs_here: Callable[[], Awaitable[bool]] = always
    record_id: int | None = None


@dataclass(frozen=True, slots=True)
class FileEntry:
    """An entry of a folder in a sandbox; links are not followed."""

    name: str
    kind: Literal["file", "folder", "link", "other"]
    size_bytes: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class SandboxUsage:
    """The present use of a sandbox's resources; None for those that its kind does not tell."""

    cpu_percent: float | None = None
    cpu_count: int | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    disk_used_bytes: int | None = None
    disk_total_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class AgentCommand:
    """The command of an agent: arguments, working directory, standard input and variables."""

    arguments: Sequence[str]
    directory: str
    stdin_path: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class KeyState:
    """Describes one key of a provider by its position in the settings, which begins at 1."""

    position: int
    in_use: bool
    refused_at: datetime | None


@dataclass(frozen=True, slots=True)
class Template:
    """Describes what sandboxes can start from; fields that are not known are None or empty.

    `origin` is `project` for the templates in this repository, `account` for others of the team,
    `provider` for those of the provider, and `machine` for the machine of the server itself.
    """

    name: str
    id: str | None
    origin: Literal["project", "account", "provider", "machine"]
    status: Literal["ready", "building", "failed", "not_built"]
    description: str = ""
    is_default: bool = False
    cpu_count: int | None = None
    memory_mb: int | None = None
    disk_mb: int | None = None
    tags: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    updated_at: datetime | None = None


class Sandbox(Protocol):
    """The isolated environment of one task. Every method raises `SandboxError` when it is gone."""

    id: str
    paths: SandboxPaths
    survives: bool
    """True when it survives the end of this process; `SandboxProvider.attach` finds it again."""

    async def write_files(self, files: Mapping[str, bytes]) -> None:
        """Write files at absolute paths; create missing folders."""

    async def read_files(self, paths: Sequence[str], *, max_bytes: int) -> dict[str, bytes | None]:
        """Return the contents by path; None for a file above `max_bytes`, absent if missing."""

    async def run(
        self,
        arguments: Sequence[str],
        *,
        timeout_seconds: float,
        environment: Mapping[str, str] | None = None,
        stdin: str = "",
        untrusted: bool = False,
        on_output: OutputHandler | None = None,
    ) -> CommandResult:
        """Run one of the backend's commands to its end.

        A failure and a timeout are values of the result, not exceptions.

        With `on_output` the output goes to the handler instead of the result.

        The environment is a small allow-list plus `environment`. Output above a megabyte is
        dropped, and bytes that are not UTF-8 may be replaced: results travel in files. After a
        cancel or a timeout the process group of the command is dead before the sandbox runs the
        next one. Processes that left the group end with the sandbox; those of a sandbox on this
        machine end with the command. With `untrusted` the command runs code of the user or the
        agent: whatever it has left running is ended before the next command that does not, also
        when that comes from another process.
        """

    async def run_repeatable(
        self,
        arguments: Sequence[str],
        *,
        timeout_seconds: float,
        environment: Mapping[str, str] | None = None,
        stdin: str = "",
        untrusted: bool = False,
        source: str = "",
        result_file: str = "",
    ) -> CommandResult:
        """Run a command as `run` does, also when the connection to the sandbox breaks meanwhile.

        Within the timeout the result of the running command is asked for again, and the command
        runs again only if it was killed.

        `source` is the path of a repository on this machine that only this command may read, for
        sandboxes that are on this machine too. `result_file` is the path of a file that the command
        makes: where each request takes its time, a small one comes along with the result.
        """

    async def list_folder(self, path: str, *, most: int) -> list[FileEntry] | None:
        """Return at most so many entries of a folder, by name; None when it is no folder."""

    async def remove(self, path: str) -> bool:
        """Remove a file, a link or a folder with all it holds; False when it does not exist."""

    async def usage(self) -> SandboxUsage:
        """Return what the sandbox uses."""

    async def run_agent(
        self,
        command: AgentCommand,
        *,
        timeout_seconds: float,
        on_output: OutputHandler,
    ) -> CommandResult:
        """Run the agent and pass its output to the handler; the returned result has no output.

        In a sandbox that survives, the agent does not depend on this process. When it was started
        already, by this process or an earlier one, its output is streamed from the first byte
        instead. A cancel or a timeout kills it as in `run`; in a sandbox that survives, also the
        processes that left its group and kept its environment.
        """

    def may_have_mirror(self, repo_url: str) -> bool:
        """Tell whether branches of a repository are kept in mirrors."""

    def mirror(self, repo_url: str, branch: str) -> AbstractAsyncContextManager[Mirror]:
        """Lock the mirror of a branch during a clone."""

    async def restrict_egress(self, headers: Collection[EgressHeader]) -> None:
        """Have the network add only the given headers from now on."""

    async def keep_alive(self, report: Callable[[str], None]) -> float:
        """Extend the sandbox's lease until cancelled.

        Calls `report` with a message for the user when the sandbox may end before the task. Returns
        before that end, with the seconds that are left to capture the changes.
        """

    async def save_snapshot(self, key: SnapshotKey) -> bool:
        """Save the files, so that later sandboxes start with them; tell if that worked.

        No command may run meanwhile. Never raises `SandboxError`.
        """

    async def pause(self) -> bool:
        """End every process and keep the files for `SandboxProvider.resume`; tell if that worked.

        Then nothing else may be called but `close`.
        """

    async def close(self) -> None:
        """End every process and remove every file of the sandbox. Safe to call twice."""


class SandboxProvider(Protocol):
    """Opens sandboxes of one kind."""

    kind: SandboxKind

    def key_states(self) -> Sequence[KeyState]:
        """Return the state of each key of the account; none for a kind without an account."""

    async def templates(self) -> Sequence[Template]:
        """Return what a request may name, the project's own first. Raises `SandboxError`."""

    async def open(self, request: SandboxRequest) -> Sandbox:
        """Open a sandbox. Raises `SandboxError`; its subclasses tell which errors are temporary."""

    async def attach(self, sandbox_id: str, request: SandboxRequest) -> Sandbox:
        """Find a sandbox that survived. Raises `SandboxError`."""

    async def resume(self, sandbox_id: str, request: SandboxRequest) -> Sandbox:
        """Open a paused sandbox, or one that still runs, for another agent. Raises `SandboxError`.

        Its files are those of the task; the traces of the earlier agent's process are removed.
        """

    async def is_paused(self, sandbox_id: str) -> bool | None:
        """Tell whether a sandbox is paused; None when it does not exist. Raises `SandboxError`."""

    async def extend(self, sandbox_id: str, seconds: float) -> None:
        """Have a sandbox live so many seconds from now, where the provider ends sandboxes.

        It may end earlier, at the longest lease of the provider. Raises `SandboxError`.
        """

    async def list_existing(self) -> set[str]:
        """Return the sandboxes of this deployment that exist. Raises `SandboxError`."""

    async def end(self, sandbox_id: str) -> None:
        """Kill a sandbox without attaching to it; the next sweep finds one that survives this.

        Never raises `SandboxError`, and a cancel does not interrupt it.
        """

    def release(self, sandbox_id: str) -> None:
        """Stop tracking a sandbox that is paused, or that another process uses.

        From now on a sweep may end it.
        """

    async def prune(self, kept: Collection[str]) -> None:
        """End sandboxes that this process has paused and that are kept no longer."""

    async def sweep(self, known: Collection[str]) -> int:
        """Kill sandboxes that an earlier process left behind, except those with a known id.

        For sandboxes that survive it may be called at any time. Returns how many it has killed.
        Raises `SandboxError`.
        """

    async def close(self) -> None:
        """Wait for sandboxes that are still being ended."""


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
    """True when a sandbox survives the end of this process; `attach` finds it again."""

    enforces: frozenset[str]
    """The names of what a project may limit there: `cpus`, `memory`, `network`."""

    shares_programs: bool
    """True when a snapshot holds programs and processes: none of it may run beside a git token."""

    version_warnings: Callable[[], Sequence[str]] = no_warnings
    """Returns a warning for each installed library whose version was not tested."""
