"""Everything that descends from a task's process dies with it, however it tries to leave."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import anyio
import psutil
import pytest

from tests.support.backends import Backend, Repository
from tests.support.waiting import eventually
from utils.sandboxes.local import commands
from utils.sandboxes.local.mirrors import MirrorStore
from utils.sandboxes.local.provider import LocalSandboxProvider
from utils.sandboxes.local.sandbox import LocalSandbox
from utils.sandboxes.protocol import SandboxRequest

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.local_only("a sandbox in the cloud ends with its machine"),
]

LONG_SECONDS = 60
_numbers = count(1)

LEAVES = {
    "another session": "setsid sleep N >/dev/null 2>&1 &",
    "another session without variables": "env -i setsid sleep N >/dev/null 2>&1 &",
    "a daemon": "(env -i setsid sh -c 'sleep N >/dev/null 2>&1 & exit 0' &);",
    "a daemon's children": "env -i setsid sh -c 'sh -c \"sleep N\" & sleep N & wait' >&2 &",
    "it holds the output": "env -i setsid sleep N &",
    "signals are ignored": "env -i setsid sh -c 'trap \"\" TERM HUP INT; sleep N; sleep N' &",
    "processes beget processes": "env -i setsid sh -c 'f() { sleep 0.02; f & }; f; sleep N' &",
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def seconds() -> int:
    """Provide a duration by which the processes of one test are recognized."""
    return os.getpid() * 1000 + next(_numbers)


def sleepers(seconds: int) -> list[int]:
    """Return the processes that sleep for this time, zombies excluded."""
    processes = psutil.process_iter(["cmdline", "status"])
    return [one.pid for one in processes if str(seconds) in " ".join(one.info["cmdline"] or ())]


@pytest.fixture
async def sandboxes(tmp_path: Path) -> AsyncIterator[list[LocalSandbox]]:
    """Provide two sandboxes."""
    provider = LocalSandboxProvider(
        tmp_path / "sandboxes", {"PATH": os.environ["PATH"]}, MirrorStore(None, 0)
    )
    opened = [await provider.open(SandboxRequest(n, "user", 1, LONG_SECONDS)) for n in (1, 2)]
    yield opened
    for sandbox in opened:
        await sandbox.close()
    await provider.close()


@pytest.fixture
def sandbox(sandboxes: list[LocalSandbox]) -> LocalSandbox:
    return sandboxes[0]


@pytest.fixture(autouse=True)
def no_sleeper(seconds: int) -> Iterator[None]:
    """Kill what a failed test leaves."""
    yield
    for pid in sleepers(seconds):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("case", LEAVES)
async def test_nothing_outlives_a_command(sandbox: LocalSandbox, seconds: int, case: str) -> None:
    script = LEAVES[case].replace("N", str(seconds))
    result = await sandbox.run(["sh", "-c", f"{script} sleep 0.1; exit 7"], timeout_seconds=60)
    assert (result.exit_code, result.timed_out) == (7, False)
    assert sleepers(seconds) == []


def has_namespaces() -> bool:
    """Tell whether this system allows process namespaces, which some containers do not."""
    start = ["unshare", *([] if os.getuid() == 0 else ["--user"]), "--pid", "--fork"]
    return (
        shutil.which("unshare") is not None
        and subprocess.run([*start, "--mount-proc", "true"], check=False).returncode == 0
    )


KILL_SUPERVISOR = 'kill -9 "$(cut -d" " -f4 /proc/$PPID/stat)"'
ENDINGS = {
    "killed": "kill -KILL $PPID",
    "stopped": "kill -STOP $PPID",
    **(
        {"killed after its parent": f"{KILL_SUPERVISOR}; kill -9 $PPID"} if has_namespaces() else {}
    ),
}


@pytest.mark.parametrize("case", ENDINGS)
async def test_nothing_outlives_a_keeper_that_the_command_ends(
    sandbox: LocalSandbox, seconds: int, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "STOP_SECONDS", 0.5)
    # The command may stop the keeper before that has reported the start.
    monkeypatch.setattr(commands, "START_SECONDS", 3.0)
    script = f"env -i setsid sleep {seconds} & {ENDINGS[case]}; sleep {seconds}"
    with anyio.move_on_after(1):
        await sandbox.run(["sh", "-c", script], timeout_seconds=60)
    await sandbox.run(["true"], timeout_seconds=60)
    assert sleepers(seconds) == []


async def test_another_sandbox_is_not_disturbed(
    sandboxes: list[LocalSandbox], seconds: int
) -> None:
    sandbox, other = sandboxes
    results = []

    async def run_long() -> None:
        script = f"env -i setsid sleep {seconds} & sleep 1; pgrep -f 'sleep {seconds}'"
        results.append(await other.run(["sh", "-c", script], timeout_seconds=60))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_long)
        for _ in range(5):
            script = "env -i setsid sleep 60 & kill -9 $PPID; sleep 60"
            await sandbox.run(["sh", "-c", script], timeout_seconds=60)
    assert results[0].ok
    assert results[0].stdout
    assert sleepers(seconds) == []


async def test_commands_run_again_after_the_supervisor_was_killed(
    sandbox: LocalSandbox,
) -> None:
    assert (await sandbox.run(["sh", "-c", KILL_SUPERVISOR], timeout_seconds=60)).ok
    for _ in range(3):
        assert (await sandbox.run(["true"], timeout_seconds=60)).ok


NO_NAMESPACES = (
    'for kind in user pid; do echo 0 >/proc/sys/user/max_${kind}_namespaces; done; exec "$@"'
)


def test_a_system_without_namespaces_starts_the_supervisor_without_one() -> None:
    without = ["unshare", "-Ur", "sh", "-c", NO_NAMESPACES, "sh"] if has_namespaces() else []
    requests, supervisor = socket.socketpair()
    control, keeper = socket.socketpair()
    with requests, control:
        with supervisor:
            descriptor = supervisor.fileno()
            scripts = map(str, (commands.NAMESPACE, commands.PROJECT))
            program = [sys.executable, *scripts, str(descriptor)]
            begun = subprocess.run([*without, *program], pass_fds=[descriptor], check=False)
        with keeper:
            socket.send_fds(requests, [b"c"], [keeper.fileno()])
        control.settimeout(LONG_SECONDS)
        assert control.recv(100).startswith(b"keeper ")
    assert begun.returncode == 0


@pytest.mark.parametrize("is_cancelled", [True, False], ids=["cancelled", "completed"])
def test_nothing_outlives_a_task(
    shell: Backend, sample: Repository, seconds: int, is_cancelled: bool
) -> None:
    last = f"sleep {seconds}" if is_cancelled else "sleep 0.1"
    script = f"env -i setsid sleep {seconds} >/dev/null 2>&1 & echo begun; {last}"
    task_id = shell.start(script, sample)
    if is_cancelled:
        eventually(lambda: "begun" in shell.output(task_id))
        assert sleepers(seconds) != []
        shell.post(f"/tasks/{task_id}/cancel")
        assert sleepers(seconds) == []
    task = shell.wait(task_id)
    assert task["status"] == ("cancelled" if is_cancelled else "completed")
    assert sleepers(seconds) == []
