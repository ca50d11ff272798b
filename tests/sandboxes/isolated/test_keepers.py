"""The processes that run the commands of isolated sandboxes: when they are made, what they show."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from tests.support.places import IsolatedPlace, require_isolation
from tests.support.waiting import until
from utils.config.settings import Settings
from utils.sandboxes.local import commands
from utils.sandboxes.protocol import Sandbox, SandboxProvider, SandboxRequest
from utils.sandboxes.registry import open_provider

pytestmark = pytest.mark.anyio

LONG_SECONDS = 60


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Provide a folder of programs by which the supervisor and its keepers are recognized."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return str(programs)


@pytest.fixture
async def provider(tmp_path: Path, mark: str) -> AsyncIterator[SandboxProvider]:
    require_isolation()
    values = {
        **IsolatedPlace.settings,
        "data_dir": tmp_path / "data",
        "isolated_readable_paths": [mark],
    }
    provider = open_provider(Settings.model_validate(values))
    yield provider
    await provider.close()
    await until(lambda: not processes(mark))


def processes(mark: str) -> dict[int, int]:
    """Return the supervisor, the keepers and their first processes, each with its parent."""
    found = psutil.process_iter(["environ", "ppid", "status"])
    return {
        one.pid: one.info["ppid"]
        for one in found
        if mark in (one.info["environ"] or {}).get("PATH", "").split(os.pathsep)
        and one.info["status"] != psutil.STATUS_ZOMBIE
    }


def keepers(mark: str) -> set[int]:
    """Return the children of the supervisor."""
    all_of_them = processes(mark)
    [supervisor] = [one for one, parent in all_of_them.items() if parent not in all_of_them]
    return {one for one, parent in all_of_them.items() if parent == supervisor}


async def opened(provider: SandboxProvider) -> Sandbox:
    sandbox = await provider.open(SandboxRequest(1, "user", 1, LONG_SECONDS))
    assert (await sandbox.run(["true"], timeout_seconds=LONG_SECONDS)).ok
    return sandbox


async def test_a_keeper_is_ready_for_the_next_sandbox_when_one_has_ended(
    provider: SandboxProvider, mark: str
) -> None:
    first = await opened(provider)
    used = keepers(mark)
    await first.close()
    await until(lambda: not used & keepers(mark))
    ready = keepers(mark)
    assert len(ready) == 1
    second = await opened(provider)
    assert keepers(mark) == ready
    third = await opened(provider)
    assert len(keepers(mark)) == 2
    await second.close()
    await third.close()
    # One is enough: it is there for the time until another one is made.
    await until(lambda: len(keepers(mark)) == 1)


async def test_no_keeper_waits_for_long(
    provider: SandboxProvider, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "READY_SECONDS", 0.2)
    sandbox = await opened(provider)
    await sandbox.close()
    await until(lambda: not keepers(mark))
    await (await opened(provider)).close()


async def test_a_keeper_that_was_killed_while_it_waited_is_replaced(
    provider: SandboxProvider, mark: str
) -> None:
    first = await opened(provider)
    used = keepers(mark)
    await first.close()
    await until(lambda: not used & keepers(mark))
    [ready] = keepers(mark)
    psutil.Process(ready).kill()
    # A keeper that is only about to die could still be sent a command, which would end with it.
    await until(lambda: ready not in keepers(mark))
    await (await opened(provider)).close()


async def test_the_first_process_tells_nothing_of_the_server(provider: SandboxProvider) -> None:
    sandbox = await opened(provider)
    shown = await sandbox.run(["cat", "/proc/1/cmdline"], timeout_seconds=LONG_SECONDS)
    assert shown.ok
    assert shown.stdout.strip(b"\0") == b"init"
    await sandbox.close()
