"""Runs tasks in folders of this machine. Not a security boundary."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
from anyio import to_thread

from utils.config.private_folder import is_disk_full, is_out_of_space
from utils.errors import SandboxError
from utils.models.runs import CommandResult
from utils.processes import MARKER_VARIABLE, SIGNALLED, end_marked
from utils.sandboxes.local.boundary import Boundary
from utils.sandboxes.local.commands import Command, Keeper, Supervisor
from utils.sandboxes.local.files import (
    exists,
    folder_bytes,
    list_folder,
    open_file,
    read_files,
    remove_folder,
    remove_path,
    restore_folders,
    write_files,
)
from utils.sandboxes.local.kind import LOCAL_SANDBOX
from utils.sandboxes.local.mirrors import BranchMirror, MirrorStore
from utils.sandboxes.local.orders import NO_LIMITS, CommandLimits, Enclosure, Order, ProcessorOrder
from utils.sandboxes.local.output import Output
from utils.sandboxes.local.snapshots import SnapshotStore
from utils.sandboxes.protocol import (
    AgentCommand,
    EgressHeader,
    FileEntry,
    Mirror,
    OutputHandler,
    SandboxPaths,
    SandboxUsage,
)
from utils.sandboxes.snapshots import SnapshotKey

DRAIN_SECONDS = 2.0

_GIT_OVER_LIMIT = b"died of signal %d" % signal.SIGXFSZ
_LIMIT_SETTINGS = {
    "memory": "MAX_LOCAL_MEMORY_BYTES",
    "processes": "MAX_LOCAL_PROCESSES",
    "disk": "MAX_LOCAL_DISK_BYTES",
}


class LocalSandbox:
    """A folder with a home, a repository and a work folder."""

    survives = LOCAL_SANDBOX.survives

    def __init__(
        self,
        root: Path,
        environment: Mapping[str, str],
        mirrors: MirrorStore,
        snapshots: SnapshotStore,
        supervisor: Supervisor,
        limits: CommandLimits,
        boundary: Boundary,
        processors: ProcessorOrder | None = None,
    ) -> None:
        self.id = root.name
        self.paths = SandboxPaths(str(root / "home"), str(root / "repository"), str(root / "work"))
        self._root = root
        self._marker = str(root)
        self._mirrors = mirrors
        self._snapshots = snapshots
        self._supervisor = supervisor
        self._boundary = boundary
        self._keeper = Keeper(supervisor, boundary.listen, boundary.view, processors)
        self._writable = ""
        self._used_mirrors: list[BranchMirror] = []
        # A kept sandbox is the work of an agent.
        self._may_be_damaged = True
        self._limits = replace(limits, folder=str(root))
        self._environment = {
            **environment,
            "HOME": self.paths.home,
            "TMPDIR": str(root / "tmp"),
            # An agent whose repository is damaged must not use a repository outside the sandbox.
            "GIT_CEILING_DIRECTORIES": str(root),
            MARKER_VARIABLE: self._marker,
            **boundary.environment,
        }

    async def prepare(self) -> None:
        """Begin what the first command needs, so that it waits less."""
        if self._boundary.view:
            await self._keeper.prepare()

    async def write_files(self, files: Mapping[str, bytes]) -> None:
        """See `Sandbox`."""
        await to_thread.run_sync(self._write_files, files)

    def _write_files(self, files: Mapping[str, bytes]) -> None:
        self._restore_now()
        try:
            write_files(self._root, files)
        except OSError as error:
            if is_out_of_space(error):
                raise disk_full() from error
            raise

    async def read_files(self, paths: Sequence[str], *, max_bytes: int) -> dict[str, bytes | None]:
        """See `Sandbox`."""
        return await to_thread.run_sync(lambda: dict(read_files(self._root, paths, max_bytes)))

    async def list_folder(self, path: str, *, most: int) -> list[FileEntry] | None:
        """See `Sandbox`."""
        return await to_thread.run_sync(list_folder, self._root, path, most)

    async def remove(self, path: str) -> bool:
        """See `Sandbox`."""
        await self._restore()
        return await to_thread.run_sync(remove_path, self._root, path)

    async def usage(self) -> SandboxUsage:
        """See `Sandbox`. Without a command it has no processes."""
        used = await to_thread.run_sync(folder_bytes, self._root)
        return SandboxUsage(disk_used_bytes=used, disk_total_bytes=self._limits.disk_bytes)

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
        """See `Sandbox`."""
        output = Output(on_output)
        return await self._run_own(
            arguments, timeout_seconds, environment, stdin, "", output, untrusted=untrusted
        )

    async def run_repeatable(
        self,
        arguments: Sequence[str],
        *,
        timeout_seconds: float,
        environment: Mapping[str, str] | None = None,
        stdin: str = "",
        untrusted: bool = False,
        source: str = "",
        result_file: str = "",  # noqa: ARG002 - to read it takes no request
    ) -> CommandResult:
        """See `Sandbox`. No connection breaks here."""
        return await self._run_own(
            arguments,
            timeout_seconds,
            environment,
            stdin,
            source,
            Output(None),
            untrusted=untrusted,
        )

    async def _run_own(
        self,
        arguments: Sequence[str],
        timeout_seconds: float,
        environment: Mapping[str, str] | None,
        stdin: str,
        source: str,
        output: Output,
        *,
        untrusted: bool,
    ) -> CommandResult:
        await self._restore()
        # The agent may have removed every folder.
        enclose = partial(
            self._boundary.enclose, self._limits, writable=self._writable, source=source
        )
        # A source is looked for on the disk.
        enclosure = await to_thread.run_sync(enclose) if source else enclose()
        text = stdin.encode() if stdin else None
        order = self._order(arguments, "/", environment, text, enclosure)
        # Every command ends with all of its processes, but what it did to the folders stays.
        self._may_be_damaged |= untrusted
        return await self._run(order, output, timeout_seconds)

    async def run_agent(
        self,
        command: AgentCommand,
        *,
        timeout_seconds: float,
        on_output: OutputHandler,
    ) -> CommandResult:
        """See `Sandbox`."""
        self._may_be_damaged = True
        path = command.stdin_path
        descriptor = open_file(self._root, path) if path else None
        order = self._order(
            command.arguments,
            command.directory,
            command.environment,
            descriptor,
            self._boundary.enclose(self._limits),
        )
        try:
            result = await self._run(order, Output(on_output), timeout_seconds)
        finally:
            if descriptor is not None:
                os.close(descriptor)
        # Whatever the agent made of it, this is the reason that its user can do something about.
        if result.exit_code and await to_thread.run_sync(is_disk_full, self._root.parent):
            raise disk_full()
        return result

    async def _restore(self) -> None:
        if self._may_be_damaged or not exists(self._root):
            await to_thread.run_sync(self._restore_now)

    def _restore_now(self) -> None:
        """Make the folders usable again, after a command of the agent or the user. Blocks."""
        try:
            restore_folders(self._root)
            self._may_be_damaged = False
        except OSError as error:
            if is_out_of_space(error):
                raise disk_full() from error
            raise SandboxError(
                f"The folders of the local sandbox are gone or damaged: {error.strerror}. Start "
                "the task again, and tell the agent to change nothing outside the repository."
            ) from error

    def _order(
        self,
        arguments: Sequence[str],
        directory: str,
        environment: Mapping[str, str] | None,
        stdin: int | bytes | None,
        enclosure: Enclosure | None,
    ) -> Order:
        return Order(
            arguments,
            directory,
            {**self._environment, **(environment or {})},
            self._limits,
            stdin,
            enclosure,
        )

    async def _run(self, order: Order, output: Output, timeout_seconds: float) -> CommandResult:
        finished = False
        with anyio.move_on_after(timeout_seconds) as limit:
            async with self._keeper.run(order) as command, anyio.create_task_group() as tasks:
                tasks.start_soon(output.follow, "stdout", command.stdout)
                tasks.start_soon(output.follow, "stderr", command.stderr)
                await command.wait()
                finished = True
                output.pace.is_hurried = True
                # Without a supervisor that ends all, a process may still hold the output.
                tasks.cancel_scope.deadline = anyio.current_time() + DRAIN_SECONDS
        if exceeded := command.exceeded_limit or _file_limit(command, output):
            raise self._limit_error(exceeded)
        return CommandResult(
            command.exit_code if finished else -1,
            output.text("stdout"),
            output.text("stderr"),
            timed_out=limit.cancelled_caught and not finished,
        )

    def _limit_error(self, exceeded: str) -> SandboxError:
        # What is there is still captured, also from a folder that is too large.
        self._limits = NO_LIMITS
        return SandboxError(
            f"The task needed more than {_LIMIT_SETTINGS[exceeded]} allows and was ended. Raise "
            "the setting, or ask for less in one task.",
            "sandbox_limit_exceeded",
        )

    def may_have_mirror(self, repo_url: str) -> bool:
        """See `Sandbox`."""
        return self._mirrors.may_have(repo_url)

    @asynccontextmanager
    async def mirror(self, repo_url: str, branch: str) -> AsyncIterator[Mirror]:
        """See `Sandbox`."""
        async with self._mirrors.use(repo_url, branch) as mirror:
            self._writable = mirror.path
            try:
                yield mirror
            finally:
                self._writable = ""
        self._used_mirrors.append(mirror)

    async def restrict_egress(self, headers: Collection[EgressHeader]) -> None:
        """See `Sandbox`. The network of this machine adds no headers."""

    async def keep_alive(self, report: Callable[[str], None]) -> float:
        """See `Sandbox`. A local sandbox lives as long as this process."""
        await self._boundary.watch(report)
        return 0.0

    async def save_snapshot(self, key: SnapshotKey) -> bool:
        """See `Sandbox`."""
        return await self._snapshots.save(key, self._root)

    async def pause(self) -> bool:
        """See `Sandbox`."""
        self._keeper.close()
        await self._boundary.close()
        if not self._supervisor.ends_all:
            await to_thread.run_sync(end_marked, self._marker)
        if self._boundary.listen:
            # While this one ends; the next one would wait for it.
            await self._supervisor.make_ready()
        while self._used_mirrors:
            self._mirrors.begin_checkout(self._used_mirrors.pop())
        return True

    async def close(self) -> None:
        """See `Sandbox`."""
        await self.pause()
        await to_thread.run_sync(remove_folder, self._root)


def disk_full() -> SandboxError:
    """Return the error of a machine without free space."""
    return SandboxError(
        "The disk of this machine is full. Free some space in DATA_DIR, and start the task again.",
        "disk_full",
    )


def _file_limit(command: Command, output: Output) -> str:
    """Return `disk` when a file became larger than all files together may be."""
    ended = command.exit_code == SIGNALLED + signal.SIGXFSZ
    return "disk" if ended or _GIT_OVER_LIMIT in output.text("stderr") else ""
