"""Local sandboxes beyond the contract: a command's whole process group ends with it."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import anyio
import psutil
import pytest

from tests.support.waiting import until
from utils.processes import MARKER_VARIABLE
from utils.sandboxes.local.mirrors import MirrorStore
from utils.sandboxes.local.provider import LocalSandboxProvider
from utils.sandboxes.local.sandbox import LocalSandbox
from utils.sandboxes.protocol import SandboxRequest

pytestmark = pytest.mark.anyio

LONG_SECONDS = 60


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def provider(tmp_path: Path) -> LocalSandboxProvider:
    return LocalSandboxProvider(
        tmp_path / "sandboxes", {"PATH": os.environ["PATH"]}, MirrorStore(None, 0)
    )


@pytest.fixture
async def sandbox(provider: LocalSandboxProvider) -> AsyncIterator[LocalSandbox]:
    sandbox = await provider.open(SandboxRequest(1, "user", 1, LONG_SECONDS))
    yield sandbox
    await sandbox.close()


def living(sandbox: LocalSandbox) -> list[psutil.Process]:
    """Return the processes whose environment names this sandbox."""
    return [process for process in psutil.process_iter() if _is_of(process, sandbox)]


def _is_of(process: psutil.Process, sandbox: LocalSandbox) -> bool:
    try:
        return process.environ().get(MARKER_VARIABLE, "").endswith(sandbox.id)
    except psutil.Error:
        return False


@pytest.mark.parametrize("leave", ["sleep 60 &", "setsid sleep 60 &"])
async def test_a_command_ends_although_a_child_holds_its_output(
    sandbox: LocalSandbox, leave: str
) -> None:
    started = time.monotonic()
    result = await sandbox.run(["sh", "-c", f"{leave} printf done"], timeout_seconds=LONG_SECONDS)
    assert (result.exit_code, result.stdout, result.timed_out) == (0, b"done", False)
    assert time.monotonic() - started < LONG_SECONDS / 2


async def test_what_a_command_leaves_in_its_group_ends_with_it(sandbox: LocalSandbox) -> None:
    await sandbox.run(["sh", "-c", "sleep 60 & sleep 60 &"], timeout_seconds=LONG_SECONDS)
    assert living(sandbox) == []


async def test_a_command_that_is_cancelled_before_its_start_is_confirmed_ends(
    sandbox: LocalSandbox,
) -> None:
    run = partial(sandbox.run, timeout_seconds=LONG_SECONDS)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, ["sleep", "60"])
        await until(lambda: living(sandbox) != [])
        keeper = living(sandbox)[0].parent()
        tasks.cancel_scope.cancel()
    assert keeper is not None
    keeper.suspend()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, ["sleep", "60"])
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
        keeper.resume()
    assert (await run(["echo", "next"])).stdout == b"next\n"
    assert living(sandbox) == []


async def test_a_sweep_removes_what_an_earlier_process_left(
    provider: LocalSandboxProvider, sandbox: LocalSandbox
) -> None:
    marker = {**os.environ, MARKER_VARIABLE: str(Path(sandbox.paths.home).parent)}
    left = await asyncio.create_subprocess_exec("sleep", "60", env=marker)
    await until(lambda: living(sandbox) != [])
    folder = Path(sandbox.paths.home).parent
    (folder / "locked").mkdir()
    (folder / "locked" / "file").touch()
    (folder / "locked").chmod(0)
    await provider.sweep(())
    assert await left.wait() == -signal.SIGKILL
    assert not folder.exists()


async def test_a_folder_that_the_agent_locked_is_removed(sandbox: LocalSandbox) -> None:
    command = "mkdir -p a/b && touch a/b/c && chmod 0 a/b a"
    await sandbox.run(["sh", "-c", command], timeout_seconds=LONG_SECONDS)
    await sandbox.close()
    await sandbox.close()
    assert not Path(sandbox.paths.home).parent.exists()


async def test_what_is_no_plain_file_is_not_read(sandbox: LocalSandbox) -> None:
    work = Path(sandbox.paths.work)
    os.mkfifo(work / "pipe")
    (work / "endless").symlink_to("/dev/zero")
    (work / "large").write_bytes(b"12345")
    (work / "small").write_bytes(b"1234")
    names = ("pipe", "endless", "large", "small", "missing")
    read = await sandbox.read_files([str(work / name) for name in names], max_bytes=4)
    assert {Path(path).name: content for path, content in read.items()} == {
        "large": None,
        "small": b"1234",
    }


async def test_a_folder_that_is_deeper_than_a_path_is_removed(
    sandbox: LocalSandbox, tmp_path: Path
) -> None:
    root = tmp_path / "sandboxes" / sandbox.id
    script = (
        "import os, sys\n"
        "for _ in range(2500): os.mkdir('deep'); os.chdir('deep')\n"
        "os.mkdir('closed', 0); open('file', 'w'); os.symlink(sys.argv[1], 'link')"
    )
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    command = [
        sys.executable,
        "-c",
        f"import os; os.chdir({sandbox.paths.home!r})\n{script}",
        str(kept),
    ]
    result = await sandbox.run(command, timeout_seconds=LONG_SECONDS)
    assert result.exit_code == 0, result.stderr
    await sandbox.close()
    assert not root.exists()
    assert (kept / "file").exists()


@pytest.fixture
def many_files() -> Iterator[None]:
    """Have this process open more files than `select` can wait for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1_100)]
    yield
    for descriptor in opened:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_server_with_many_connections_runs_commands(
    many_files: None, sandbox: LocalSandbox
) -> None:
    result = await sandbox.run(["printf", "done"], timeout_seconds=LONG_SECONDS)
    assert (result.exit_code, result.stdout) == (0, b"done")
