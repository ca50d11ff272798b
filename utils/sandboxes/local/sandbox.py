"""Runs tasks in folders and process groups of this machine. Not a security boundary."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio
from anyio import to_thread

from utils.errors import SandboxError, SandboxLost
from utils.models.runs import CommandResult
from utils.processes import MARKER_VARIABLE, end_group, end_marked, exit_code
from utils.sandboxes.local.files import (
    create_folders,
    read_files,
    remove_folder,
    remove_sandbox,
    write_files,
)
from utils.sandboxes.local.kind import LOCAL_SANDBOX
from utils.sandboxes.local.mirrors import MirrorStore
from utils.sandboxes.protocol import (
    AgentCommand,
    EgressHeader,
    Mirror,
    OutputHandler,
    SandboxPaths,
    SandboxRequest,
)

CHUNK_BYTES = 32_768
STREAM_BYTES = 65_536
CAPTURED_OUTPUT_BYTES = 1_000_000
DRAIN_SECONDS = 2.0

# The server must answer requests while tasks run on the same machine.
TASK_NICENESS = 5


class LocalSandbox:
    """A folder with a home, a repository and a work folder; each command is a process group."""

    survives = LOCAL_SANDBOX.survives

    def __init__(
        self, root: Path, marker: str, environment: Mapping[str, str], mirrors: MirrorStore
    ) -> None:
        self.id = root.name
        self.paths = SandboxPaths(str(root / "home"), str(root / "repository"), str(root / "work"))
        self._root = root
        self._marker = marker
        self._mirrors = mirrors
        self._groups: set[int] = set()
        self._environment = {
            **environment,
            "HOME": self.paths.home,
            "TMPDIR": str(root / "tmp"),
            # An agent whose repository is damaged must not use a repository outside the sandbox.
            "GIT_CEILING_DIRECTORIES": str(root),
            MARKER_VARIABLE: marker,
        }

    async def write_files(self, files: Mapping[str, bytes]) -> None:
        """See `Sandbox`."""
        await to_thread.run_sync(write_files, files)

    async def read_files(self, paths: Sequence[str], *, max_bytes: int) -> dict[str, bytes | None]:
        """See `Sandbox`."""
        return await to_thread.run_sync(lambda: dict(read_files(paths, max_bytes)))

    async def run(
        self,
        arguments: Sequence[str],
        *,
        timeout_seconds: float,
        environment: Mapping[str, str] | None = None,
        stdin: str = "",
        repeatable: bool = False,  # noqa: ARG002 - no connection breaks here
    ) -> CommandResult:
        """See `Sandbox`."""
        process = await self._start(
            arguments, None, environment, asyncio.subprocess.PIPE if stdin else None
        )
        return await self._finish(process, _Output(None), timeout_seconds, stdin.encode())

    async def run_agent(
        self,
        command: AgentCommand,
        *,
        timeout_seconds: float,
        on_output: OutputHandler,
    ) -> CommandResult:
        """See `Sandbox`."""
        descriptor = os.open(command.stdin_path, os.O_RDONLY) if command.stdin_path else None
        try:
            process = await self._start(
                command.arguments, command.directory, command.environment, descriptor
            )
        finally:
            if descriptor is not None:
                os.close(descriptor)
        return await self._finish(process, _Output(on_output), timeout_seconds, b"")

    async def _finish(
        self, process: _Process, output: _Output, timeout_seconds: float, stdin: bytes
    ) -> CommandResult:
        finished = False
        try:
            with anyio.move_on_after(timeout_seconds) as limit:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(output.follow, "stdout", process.stdout)
                    tasks.start_soon(output.follow, "stderr", process.stderr)
                    tasks.start_soon(_feed, process.stdin, stdin)
                    await process.exited.wait()
                    finished = True
                    await self._end_group(process)
                    tasks.cancel_scope.deadline = anyio.current_time() + DRAIN_SECONDS
        finally:
            with anyio.CancelScope(shield=True):
                await self._end(process)
        return CommandResult(
            _exit_code(process.returncode),
            output.text("stdout"),
            output.text("stderr"),
            timed_out=limit.cancelled_caught and not finished,
        )

    def mirror(self, repo_url: str, branch: str) -> AbstractAsyncContextManager[Mirror]:
        """See `Sandbox`."""
        return self._mirrors.use(repo_url, branch)

    async def restrict_egress(self, headers: Collection[EgressHeader]) -> None:
        """See `Sandbox`. The network of this machine adds no headers."""

    async def keep_alive(self) -> None:
        """See `Sandbox`. A local sandbox lives as long as this process."""

    async def close(self) -> None:
        """See `Sandbox`."""
        for group in tuple(self._groups):
            await end_group(group)
        await to_thread.run_sync(remove_sandbox, self._root, self._marker)

    async def _start(
        self,
        arguments: Sequence[str],
        directory: str | None,
        environment: Mapping[str, str] | None,
        stdin: int | None,
    ) -> _Process:
        loop = asyncio.get_running_loop()
        try:
            transport, protocol = await loop.subprocess_exec(
                _Protocol,
                *arguments,
                cwd=directory or self._root,
                env={**self._environment, **(environment or {})},
                stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise SandboxError(
                f"The local sandbox could not start {Path(arguments[0]).name}: {error.strerror}."
            ) from error
        process = _Process(transport, protocol, loop)
        self._groups.add(process.pid)
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PGRP, process.pid, TASK_NICENESS)
        return process

    async def _end_group(self, process: _Process) -> None:
        # Only once: afterwards another group may have the same number.
        if process.pid in self._groups:
            await end_group(process.pid)
            self._groups.discard(process.pid)

    async def _end(self, process: _Process) -> None:
        await self._end_group(process)
        await process.exited.wait()
        process.transport.close()


class _Protocol(asyncio.subprocess.SubprocessStreamProtocol):
    # asyncio reports the end of a process after its pipes are closed, and a process that left the
    # group may keep them open.

    def __init__(self) -> None:
        super().__init__(limit=STREAM_BYTES, loop=asyncio.get_running_loop())
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        super().process_exited()
        self.exited.set()


class _Process(asyncio.subprocess.Process):
    def __init__(
        self,
        transport: asyncio.SubprocessTransport,
        protocol: _Protocol,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(transport, protocol, loop)
        self.transport = transport
        self.exited = protocol.exited


class _Output:
    """Collects the output of a command, or passes it to a handler."""

    def __init__(self, handler: OutputHandler | None) -> None:
        self._handler = handler
        self._collected: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}

    async def follow(self, stream: str, reader: asyncio.StreamReader | None) -> None:
        """Read to the end. Output over the limit is read and dropped, so that no command blocks."""
        assert reader is not None  # noqa: S101 - both are pipes
        while chunk := await reader.read(CHUNK_BYTES):
            if self._handler:
                self._handler(stream, chunk)
            elif len(self._collected[stream]) < CAPTURED_OUTPUT_BYTES:
                self._collected[stream] += chunk

    def text(self, stream: str) -> bytes:
        """Return the collected output."""
        return bytes(self._collected[stream])


class LocalSandboxProvider:
    """Opens sandboxes as folders below `DATA_DIR/sandboxes`."""

    kind = LOCAL_SANDBOX

    def __init__(self, root: Path, environment: Mapping[str, str], mirrors: MirrorStore) -> None:
        self._root = root.absolute()
        self._environment = dict(environment)
        self._mirrors = mirrors

    async def open(self, request: SandboxRequest) -> LocalSandbox:
        """See `SandboxProvider`."""
        folder = self._root / f"task-{request.task_id}-{os.urandom(4).hex()}"
        try:
            await to_thread.run_sync(create_folders, folder)
        except OSError as error:
            raise SandboxError(
                f"The local sandbox could not be created: {error.strerror}. "
                "Check the free space and the permissions of DATA_DIR."
            ) from error
        return LocalSandbox(folder, str(folder), self._environment, self._mirrors)

    async def attach(self, sandbox_id: str, request: SandboxRequest) -> LocalSandbox:
        """See `SandboxProvider`. No local sandbox outlives its process."""
        raise SandboxLost(
            f"The local sandbox {sandbox_id} of task {request.task_id} no longer exists."
        )

    async def end(self, sandbox_id: str) -> None:
        """See `SandboxProvider`. No local sandbox outlives its process."""

    def release(self, sandbox_id: str) -> None:
        """See `SandboxProvider`. No local sandbox outlives its process."""

    async def sweep(self, known: Collection[str]) -> None:  # noqa: ARG002 - none survives
        """See `SandboxProvider`."""
        await to_thread.run_sync(self._sweep)

    async def close(self) -> None:
        """See `SandboxProvider`."""

    def _sweep(self) -> None:
        end_marked(f"{self._root}/")
        for folder in self._root.glob("task-*"):
            remove_folder(folder)
        self._mirrors.sweep()


def _exit_code(returncode: int | None) -> int:
    return -1 if returncode is None else exit_code(returncode)


async def _feed(pipe: asyncio.StreamWriter | None, data: bytes) -> None:
    if pipe is None:
        return
    # A command that does not read its input may close the pipe early.
    with contextlib.suppress(ConnectionError):
        pipe.write(data)
        await pipe.drain()
        pipe.close()
        await pipe.wait_closed()
