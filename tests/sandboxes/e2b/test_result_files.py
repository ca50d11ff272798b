"""A small result comes along with the answer of its command, and a larger one is read.

One that E2B's daemon cannot open costs seconds, not the time of an outage.
"""

from __future__ import annotations

from base64 import encodebytes
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.e2b.control import API_KEY, E2BServerProcess
from tests.fakes.e2b.server import E2BServer
from tests.support.backends import Repository
from tests.support.e2b.tasks import LARGE_FILE, cloud_backend
from utils.config.settings import Settings
from utils.models.runs import CommandResult
from utils.sandboxes.e2b import sandbox as sandbox_e2b
from utils.sandboxes.e2b.provider import E2BSandboxProvider
from utils.sandboxes.e2b.sandbox import E2BSandbox
from utils.sandboxes.e2b.shell import CARRIED_BYTES, split_output
from utils.sandboxes.protocol import SandboxRequest

REQUEST = SandboxRequest(task_id=1, user_id="user", attempt=1, lifetime_seconds=600)
SECONDS = 60


@pytest.fixture
async def sandbox(cloud: E2BServer, tmp_path: Path) -> AsyncIterator[E2BSandbox]:
    """Provide a sandbox in the cloud."""
    settings = {"data_dir": tmp_path, "e2b_api_key": API_KEY}
    sandbox = await E2BSandboxProvider(Settings.model_validate(settings)).open(REQUEST)
    yield sandbox
    await sandbox.close()


@pytest.mark.anyio
@pytest.mark.parametrize("size", [1, CARRIED_BYTES, CARRIED_BYTES + 1, 200_000])
async def test_a_small_file_comes_along_as_it_is(sandbox: E2BSandbox, size: int) -> None:
    path = f"{sandbox.paths.work}/the file"
    make = 'head -c "$1" /dev/urandom >"$2" && echo "$ASYNC_CODE_RUN$ASYNC_CODE_FILE"'
    await sandbox.write_files({path: b""})
    result = await sandbox.run_repeatable(
        ["sh", "-c", make, "sh", str(size), path], timeout_seconds=SECONDS, result_file=path
    )
    content = (await sandbox.read_files([path], max_bytes=size))[path]
    # The names of the file and of its record are not for the command.
    assert result.stdout == b"\n"
    assert result.file == (content if size <= CARRIED_BYTES else None)


@pytest.mark.anyio
@pytest.mark.parametrize("make", ["true", "mkdir '{0}'", "mkfifo '{0}'", "ln -s '{0}' '{0}'"])
async def test_what_is_no_file_does_not_come_along(sandbox: E2BSandbox, make: str) -> None:
    path = f"{sandbox.paths.home}/the file"
    command = ["sh", "-c", f"{make.format(path)}; echo out; exit 3"]
    result = await sandbox.run_repeatable(command, timeout_seconds=SECONDS, result_file=path)
    assert result == CommandResult(3, b"out\n", b"")


def test_a_file_of_which_a_part_is_missing_does_not_come_along() -> None:
    output = b"out\nname\n" + encodebytes(bytes(range(120))) + b".\n"
    assert split_output("name", output) == (b"out", bytes(range(120)))
    assert {split_output("name", output[:size])[1] for size in range(len(output))} == {None}
    assert split_output("other", output) == (output, None)


@pytest.mark.parametrize(
    "fault",
    [{"kind": "status", "status": 500}, {"kind": "delay", "seconds": 60}],
    ids=["a loop of links", "a FIFO"],
)
def test_a_result_that_cannot_be_opened_is_given_up_and_named(
    failing_cloud: E2BServerProcess,
    tmp_path: Path,
    small: Repository,
    monkeypatch: pytest.MonkeyPatch,
    fault: dict[str, Any],
) -> None:
    monkeypatch.setattr(sandbox_e2b, "UNREADABLE_SECONDS", 0.5)
    failing_cloud.add_fault(route="files.read", **fault)
    with cloud_backend(failing_cloud, tmp_path) as backend:
        task = backend.perform(f"script:\n{LARGE_FILE}", small)
    assert (task["status"], task["error_code"]) == ("failed", "sandbox_error")
    assert "the agent may have replaced it" in task["error"]
