"""Runs tasks in folders and process groups of this machine. Not a security boundary."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from utils.errors import SandboxError
from utils.mirror import MirrorStore
from utils.models import CommandResult
from utils.processes import MARKER_VARIABLE, end_group, end_marked
from utils.sandbox import Mirror, OutputHandler, SandboxPaths

CHUNK_BYTES = 32_768
STREAM_BYTES = 65_536
CAPTURED_OUTPUT_BYTES = 1_000_000
DRAIN_SECONDS = 2.0

# The server answers people while tasks run beside it; tasks yield the processor to it.
TASK_NICENESS = 5


class LocalSandbox:
    """A folder with a home, a repository and our files; every command is a process group."""

    kind = "local"

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
            # An agent that loses its repository must not find another one around the sandbox.
            "GIT_CEILING_DIRECTORIES": str(root),
            MARKER_VARIABLE: marker,
        }

    async def write_files(self, files: Mapping[str, bytes]) -> None:
        """See `Sandbox`."""
        await to_thread.run_sync(_write_files, files)

    async def read_files(self, paths: Sequence[str], *, max_bytes: int) -> dict[str, bytes | None]:
        """See `Sandbox`."""
        return await to_thread.run_sync(lambda: dict(_read_files(paths, max_bytes)))

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
        """See `Sandbox`."""
        process = await self._start(arguments, directory, environment, has_input=bool(stdin))
        output = _Output(on_output)
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
            process.returncode if process.returncode is not None else -1,
            output.text("stdout"),
            output.text("stderr"),
            timed_out=limit.cancelled_caught and not finished,
        )

    def mirror(self, repo_url: str, branch: str) -> AbstractAsyncContextManager[Mirror]:
        """See `Sandbox`."""
        return self._mirrors.use(repo_url, branch)

    async def close(self) -> None:
        """See `Sandbox`."""
        for group in tuple(self._groups):
            await end_group(group)
        await to_thread.run_sync(_remove_sandbox, self._root, self._marker)

    async def _start(
        self,
        arguments: Sequence[str],
        directory: str | None,
        environment: Mapping[str, str] | None,
        *,
        has_input: bool,
    ) -> _Process:
        loop = asyncio.get_running_loop()
        try:
            transport, protocol = await loop.subprocess_exec(
                _Protocol,
                *arguments,
                cwd=directory or self._root,
                env={**self._environment, **(environment or {})},
                stdin=asyncio.subprocess.PIPE if has_input else asyncio.subprocess.DEVNULL,
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
        # Once: after that its number may be another group's.
        if process.pid in self._groups:
            await end_group(process.pid)
            self._groups.discard(process.pid)

    async def _end(self, process: _Process) -> None:
        await self._end_group(process)
        await process.exited.wait()
        process.transport.close()


class _Protocol(asyncio.subprocess.SubprocessStreamProtocol):
    # asyncio says that a process has ended when its pipes are closed, and a stray that left the
    # group may hold those open for ever.

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
    """Collects or hands over what a command prints."""

    def __init__(self, handler: OutputHandler | None) -> None:
        self._handler = handler
        self._collected: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}

    async def follow(self, stream: str, reader: asyncio.StreamReader | None) -> None:
        """Read to the end. What does not fit is read and dropped, so that no command blocks."""
        assert reader is not None  # noqa: S101 - both are pipes
        while chunk := await reader.read(CHUNK_BYTES):
            if self._handler:
                self._handler(stream, chunk)
            elif len(self._collected[stream]) < CAPTURED_OUTPUT_BYTES:
                self._collected[stream] += chunk

    def text(self, stream: str) -> bytes:
        """Return what was collected."""
        return bytes(self._collected[stream])


class LocalSandboxProvider:
    """Opens sandboxes as folders below `DATA_DIR/sandboxes`."""

    kind = "local"

    def __init__(self, root: Path, environment: Mapping[str, str], mirrors: MirrorStore) -> None:
        self._root = root.absolute()
        self._environment = dict(environment)
        self._mirrors = mirrors

    async def open(self, task_id: int) -> LocalSandbox:
        """See `SandboxProvider`."""
        folder = self._root / f"task-{task_id}-{os.urandom(4).hex()}"
        try:
            await to_thread.run_sync(_make_folders, folder)
        except OSError as error:
            raise SandboxError(
                f"The local sandbox could not be made: {error.strerror}. "
                "Check free space and permissions of DATA_DIR."
            ) from error
        return LocalSandbox(folder, str(folder), self._environment, self._mirrors)

    async def sweep(self) -> None:
        """See `SandboxProvider`."""
        await to_thread.run_sync(self._sweep)

    def _sweep(self) -> None:
        end_marked(f"{self._root}/")
        for folder in self._root.glob("task-*"):
            _remove_folder(folder)
        self._mirrors.sweep()


def _make_folders(folder: Path) -> None:
    for name in ("home", "work/result", "tmp"):
        (folder / name).mkdir(parents=True, mode=0o700)


def _write_files(files: Mapping[str, bytes]) -> None:
    for path, content in files.items():
        try:
            Path(path).write_bytes(content)
        except FileNotFoundError:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(content)


def _read_files(paths: Sequence[str], max_bytes: int) -> Iterator[tuple[str, bytes | None]]:
    for path in paths:
        with contextlib.suppress(FileNotFoundError), Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            yield path, file.read() if size <= max_bytes else None


async def _feed(pipe: asyncio.StreamWriter | None, data: bytes) -> None:
    if pipe is None:
        return
    # A command that does not read its input closes the pipe early; that is its right.
    with contextlib.suppress(ConnectionError):
        pipe.write(data)
        await pipe.drain()
        pipe.close()
        await pipe.wait_closed()


def _remove_sandbox(root: Path, marker: str) -> None:
    end_marked(marker)
    _remove_folder(root)


def _remove_folder(folder: Path) -> None:
    def unlock(function: Any, path: str, _error: Any) -> None:
        # An agent may have taken its own permissions away.
        with contextlib.suppress(OSError):
            os.chmod(Path(path).parent, 0o700)  # noqa: PTH101
            os.chmod(path, 0o700)  # noqa: PTH101
            function(path)

    for _ in range(2):
        shutil.rmtree(folder, onerror=unlock)
        if not folder.exists():
            return
