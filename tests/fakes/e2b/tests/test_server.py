"""The fake's control plane and files behave as E2B's do, tested through the real SDK."""

from __future__ import annotations

import asyncio
import io
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from e2b import (
    AsyncSandbox,
    AuthenticationException,
    FileNotFoundException,
    FileType,
    InvalidArgumentException,
    RateLimitException,
    Sandbox,
    SandboxException,
    SandboxNotFoundException,
    SandboxNotRunningException,
    SandboxQuery,
    SandboxState,
)

from tests.fakes.e2b.control import E2BControl, E2BServerProcess
from tests.fakes.e2b.server import E2BServer
from tests.support.waiting import is_alive, process_state, until

pytestmark = pytest.mark.anyio

SANDBOXES = 100


async def listed(**query: object) -> list[str]:
    paginator = AsyncSandbox.list(query=SandboxQuery(**query), limit=2, order="asc")  # type: ignore[arg-type]
    found = []
    while paginator.has_next:
        found += [item.sandbox_id for item in await paginator.next_items()]
    return found


async def test_a_sandbox_has_what_it_was_created_with(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create(
        "base", timeout=600, metadata={"task": "1"}, envs={"COLOUR": "blue"}
    )
    info = await sandbox.get_info()
    assert (info.template_id, info.metadata, info.state) == (
        "base",
        {"task": "1"},
        SandboxState.RUNNING,
    )
    assert 590 < (info.end_at - info.started_at).total_seconds() < 610
    assert (await sandbox.commands.run("echo $COLOUR")).stdout == "blue\n"
    assert len(await sandbox.get_metrics()) == 1


async def test_sandboxes_are_found_by_metadata_and_state_page_by_page(cloud: E2BControl) -> None:
    mine = {"app": "a & b", "owner": "ü=1"}
    ids = [(await AsyncSandbox.create(metadata=mine)).sandbox_id for _ in range(5)]
    await AsyncSandbox.create(metadata={"app": "other"})
    await AsyncSandbox.pause(ids[0])
    assert await listed(metadata=mine) == ids
    assert await listed(metadata=mine, state=[SandboxState.PAUSED]) == ids[:1]
    assert len(await listed()) == 6


async def test_killing_twice_says_so(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    assert await sandbox.kill()
    assert not await sandbox.kill()
    assert not await sandbox.is_running()
    with pytest.raises(SandboxNotFoundException):
        await sandbox.get_info()
    with pytest.raises(SandboxNotRunningException):
        await sandbox.commands.run("true")
    with pytest.raises(SandboxNotRunningException):
        await sandbox.files.read("x")


async def test_bad_keys_templates_and_timeouts_are_refused(cloud: E2BControl) -> None:
    cloud.configure(templates=["base"], api_keys=["e2b_fake"])
    for key in ("wrong", "e2b_unknown"):
        with pytest.raises(AuthenticationException):
            await AsyncSandbox.create(api_key=key)
    with pytest.raises(SandboxException) as unknown:
        await AsyncSandbox.create("missing")
    with pytest.raises(SandboxException, match="Timeout cannot be greater than 1 hours") as long:
        await AsyncSandbox.create("base", timeout=3601)
    assert (unknown.value.status_code, long.value.status_code) == (404, 400)
    assert cloud.stats()["sandboxes"]["created"] == 0


async def test_a_team_sees_its_own_sandboxes_only(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    with pytest.raises(SandboxNotFoundException):
        await AsyncSandbox.connect(sandbox.sandbox_id, api_key="e2b_other")
    assert await AsyncSandbox.list(api_key="e2b_other").next_items() == []


async def test_an_idempotency_key_makes_one_sandbox(cloud: E2BControl) -> None:
    first, second = [await AsyncSandbox.create(idempotency_key="task-1-1") for _ in range(2)]
    assert first.sandbox_id == second.sandbox_id
    assert cloud.stats()["sandboxes"]["created"] == 1


async def test_the_quota_is_a_429_that_the_sdk_tries_four_times(cloud: E2BControl) -> None:
    cloud.configure(max_concurrent=1)
    await AsyncSandbox.create()
    with pytest.raises(RateLimitException, match=r"maximum number of concurrent E2B .* \(1\)"):
        await AsyncSandbox.create()
    assert cloud.stats()["requests"]["create"] == 5


async def test_expiry_ends_everything_in_the_sandbox(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    handle = await sandbox.commands.run("sleep 1000", background=True, timeout=0)
    await sandbox.set_timeout(0)
    with pytest.raises(SandboxNotRunningException):
        await handle.wait()
    await until(lambda: not is_alive(handle.pid))
    assert not await sandbox.kill()
    assert cloud.stats()["sandboxes"]["expired"] == 1


async def test_a_sandbox_may_pause_at_the_end_of_its_time(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create(lifecycle={"on_timeout": "pause"})
    await sandbox.set_timeout(0)
    await until(lambda: cloud.stats()["sandboxes"]["paused"] == 1)
    assert (await sandbox.get_info()).state is SandboxState.PAUSED


async def test_connecting_only_lengthens_the_timeout(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create(timeout=600)
    end = (await sandbox.get_info()).end_at
    await AsyncSandbox.connect(sandbox.sandbox_id, timeout=10)
    assert (await sandbox.get_info()).end_at == end
    await AsyncSandbox.connect(sandbox.sandbox_id, timeout=1200)
    assert (await sandbox.get_info()).end_at > end


async def test_a_paused_sandbox_stands_still_until_it_is_resumed(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    handle = await sandbox.commands.run("exec sleep 1000", background=True, timeout=0)
    name = Path(f"/proc/{handle.pid}/comm")
    await until(lambda: (name.read_text(), process_state(handle.pid)) == ("sleep\n", "S"))
    assert await sandbox.pause()
    assert not await sandbox.pause()
    await until(lambda: process_state(handle.pid) == "T")
    with pytest.raises(SandboxNotRunningException):
        await handle.wait()
    with pytest.raises(SandboxNotRunningException):
        await sandbox.commands.run("true")
    again = await AsyncSandbox.connect(sandbox.sandbox_id)
    assert [item.pid for item in await again.commands.list()] == [handle.pid]
    assert (await again.commands.run("echo here")).stdout == "here\n"


async def test_files_keep_every_byte_in_every_way_of_writing(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    content = bytes(range(256)) * 500 + b"\r\n--boundary\r\n"
    await sandbox.files.write("multi part.bin", content)
    await sandbox.files.write("a/octet.bin", content, use_octet_stream=True)
    await sandbox.files.write("/home/user/gzip.bin", content, gzip=True)
    await sandbox.files.write("~/stream.bin", io.BytesIO(content))
    for name in ("multi part.bin", "a/octet.bin", "gzip.bin", "stream.bin"):
        assert await sandbox.files.read(f"/home/user/{name}", format="bytes") == content
        assert await sandbox.files.read(name, format="bytes", gzip=True) == content
    written = await sandbox.files.write_files(
        [{"path": 'quoted ".txt', "data": "é"}, {"path": "/tmp/b.txt", "data": "b"}]
    )
    assert [item.path for item in written] == ['/home/user/quoted ".txt', "/tmp/b.txt"]
    assert await sandbox.files.read('quoted ".txt') == "é"


async def test_files_are_named_as_they_were_asked_for(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    home = (await sandbox.commands.run('printf %s "$HOME"')).stdout
    await sandbox.files.write(f"{home}/a/b.txt", "b")
    assert [item.path for item in await sandbox.files.list(f"{home}/a")] == [f"{home}/a/b.txt"]
    assert [item.path for item in await sandbox.files.list("a")] == ["/home/user/a/b.txt"]
    assert (await sandbox.commands.run("cat /home/user/a/b.txt")).stdout == "b"


async def test_folders_are_made_listed_moved_and_removed(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    assert await sandbox.files.make_dir("a/b")
    assert not await sandbox.files.make_dir("a/b")
    await sandbox.files.write("a/b/c.txt", "123")
    await sandbox.commands.run("ln -s b/c.txt a/link")
    found = {item.name: item for item in await sandbox.files.list("a", depth=2)}
    assert found["c.txt"].size == 3
    assert found["link"].type is FileType.SYMLINK
    assert found["link"].symlink_target == "/home/user/a/b/c.txt"
    assert (await sandbox.files.rename("a/b", "d")).path == "/home/user/d"
    assert (await sandbox.files.get_info("d/c.txt")).name == "c.txt"
    for _ in range(2):
        await sandbox.files.remove("d")
    assert not await sandbox.files.exists("d")


async def test_missing_files_folders_and_paths_outside_are_refused(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    with pytest.raises(FileNotFoundException):
        await sandbox.files.read("missing")
    with pytest.raises(FileNotFoundException):
        await sandbox.files.list("missing")
    with pytest.raises(InvalidArgumentException):
        await sandbox.files.read("/home/user")
    with pytest.raises(SandboxException):
        await sandbox.files.write("../../../outside", "x")


def test_envd_wants_its_token_or_a_signature(cloud: E2BControl) -> None:
    sandbox = Sandbox.create()
    sandbox.files.write("a b.txt", "signed")
    link = sandbox.download_url("a b.txt")
    with urllib.request.urlopen(link) as response:
        assert response.read() == b"signed"
    bare = urllib.request.Request(f"{cloud.url}/files?path=a+b.txt")
    bare.add_header("E2b-Sandbox-Id", sandbox.sandbox_id)
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(bare)
    with refusal.value as response:
        assert response.status == 401


@pytest.mark.exhaustive("the benchmark of 500 sandboxes counts threads, and others stream at once")
async def test_a_hundred_sandboxes_stream_at_once_without_more_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # In a process of its own: servers of other tests may start threads in this one.
    with E2BServerProcess() as cloud:
        for name, value in cloud.environment.items():
            monkeypatch.setenv(name, value)
        await stream_at_once(cloud)


async def stream_at_once(cloud: E2BServerProcess) -> None:
    """Follow a command in each of a hundred sandboxes, and count the threads of the cloud."""
    await (await AsyncSandbox.create()).kill()
    before = cloud.stats()["threads"]

    async def run(number: int) -> str:
        sandbox = await AsyncSandbox.create(metadata={"number": str(number)})
        script = f"echo {number}; until [ -e go ]; do sleep 0.2; done"
        handle = await sandbox.commands.run(script, background=True, timeout=0)
        await until(streaming.is_set)
        await sandbox.files.write("go", "")
        result = await handle.wait()
        await sandbox.kill()
        return result.stdout

    streaming = asyncio.Event()
    tasks = [asyncio.create_task(run(number)) for number in range(SANDBOXES)]
    await until(lambda: cloud.stats()["open_streams"] == SANDBOXES)
    during = cloud.stats()
    streaming.set()
    assert await asyncio.gather(*tasks) == [f"{number}\n" for number in range(SANDBOXES)]
    after = cloud.stats()
    assert max(during["threads"], after["threads"]) <= before + 1
    assert after["sandboxes"]["killed"] == after["sandboxes"]["created"] == SANDBOXES + 1


def test_nothing_is_left_when_the_server_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    server = E2BServer()
    server.start()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    script = "setsid sleep 1000 >/dev/null 2>&1 & echo $!"
    stray = int(Sandbox.create().commands.run(script).stdout)
    root = Path(server.sandboxes()[0]["root"])
    assert root.is_dir()
    server.stop()
    assert not is_alive(stray)
    assert not root.parent.parent.exists()


async def test_the_server_runs_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with E2BServerProcess() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        sandbox = await AsyncSandbox.create()
        handle = await sandbox.commands.run("exec sleep 1000", background=True, timeout=0)
        assert server.stats()["processes"] == 1
        server_pid = server.pid
        assert is_alive(handle.pid)
    assert not is_alive(server_pid)
    assert not is_alive(handle.pid)


def test_the_server_is_started_by_hand_and_ended_by_a_signal() -> None:
    command = [sys.executable, "-m", "tests.fakes.e2b.server", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
