"""Each fault of the fake becomes the SDK's exception that docs/e2b.md names."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys

import httpx
import pytest
from e2b import (
    AsyncSandbox,
    AuthenticationException,
    RateLimitException,
    SandboxException,
    SandboxNotRunningException,
    SandboxUnreachableException,
    TimeoutException,
)
from e2b.exceptions import ServiceBusyException

from tests.fakes.e2b.control import E2BControl
from tests.support.waiting import is_alive, until

pytestmark = pytest.mark.anyio

REFUSED = """
import asyncio, os, sys
import httpx
from e2b import AsyncSandbox, SandboxUnreachableException

async def main():
    sandbox = await AsyncSandbox.create()
    print("created", flush=True)
    sys.stdin.readline()
    # The first request may still find the connection that is being dropped.
    for expected in (httpx.TransportError, httpx.ConnectError):
        try:
            await AsyncSandbox.create()
        except expected:
            print("create refused", flush=True)
    try:
        await sandbox.commands.run("true")
    except SandboxUnreachableException:
        print("run refused", flush=True)
    sys.stdin.readline()
    print((await sandbox.commands.run("echo back")).stdout, end="", flush=True)

asyncio.run(main())
# The SDK may abort the interpreter on its way out after refused connections.
os._exit(0)
"""


@pytest.mark.parametrize(
    ("status", "exception", "requests"),
    [
        (401, AuthenticationException, 1),
        (403, SandboxException, 1),
        (404, SandboxException, 1),
        (429, RateLimitException, 4),
        (500, SandboxException, 1),
        (502, SandboxException, 4),
        (503, ServiceBusyException, 4),
        (504, SandboxException, 4),
    ],
)
async def test_an_error_of_the_control_plane_has_its_exception(
    cloud: E2BControl, status: int, exception: type[Exception], requests: int
) -> None:
    cloud.add_fault("status", route="create", status=status)
    with pytest.raises(exception) as failure:
        await AsyncSandbox.create()
    assert getattr(failure.value, "status_code", status) == status
    assert cloud.stats()["requests"]["create"] == requests
    assert cloud.stats()["sandboxes"]["created"] == 0


async def test_the_sdk_gets_over_a_single_busy_answer(cloud: E2BControl) -> None:
    cloud.add_fault("status", route="create", status=503, times=1, headers={"Retry-After": "0"})
    await AsyncSandbox.create()
    assert cloud.stats()["requests"]["create"] == 2


async def test_an_error_after_the_fact_leaves_a_sandbox_behind(cloud: E2BControl) -> None:
    cloud.add_fault("status", route="create", status=500, when="after", times=1)
    with pytest.raises(SandboxException):
        await AsyncSandbox.create(idempotency_key="task-1-1")
    (left,) = cloud.sandboxes()
    again = await AsyncSandbox.create(idempotency_key="task-1-1")
    assert again.sandbox_id == left["sandboxID"]


@pytest.mark.parametrize(("when", "created"), [("before", 0), ("after", 1)])
async def test_a_dropped_create_is_a_raw_transport_error(
    cloud: E2BControl, when: str, created: int
) -> None:
    cloud.add_fault("drop", route="create", when=when)
    with pytest.raises(httpx.TransportError):
        await AsyncSandbox.create()
    assert cloud.stats()["sandboxes"]["created"] == created


async def test_refused_connections_are_told_apart_and_pass(cloud: E2BControl) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        REFUSED,
        env={**os.environ, **cloud.environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    assert await process.stdout.readline() == b"created\n"
    cloud.refuse()
    process.stdin.write(b"\n")
    for _ in range(2):
        assert await process.stdout.readline() == b"create refused\n"
    assert await process.stdout.readline() == b"run refused\n"
    cloud.accept()
    process.stdin.write(b"\n")
    assert await process.stdout.readline() == b"back\n"
    await process.communicate()


async def test_connections_are_refused_for_a_while(cloud: E2BControl) -> None:
    address = ("127.0.0.1", int(cloud.url.rpartition(":")[2]))

    def is_open() -> bool:
        try:
            socket.create_connection(address).close()
        except ConnectionRefusedError:
            return False
        return True

    assert is_open()
    cloud.refuse(1.0, streams=True)
    assert not is_open()
    await until(is_open)


@pytest.mark.parametrize("limit", [{"after_events": 2}, {"after_bytes": 60}, {"seconds": 0.2}])
async def test_a_stream_cut_in_the_middle_does_not_end_the_command(
    cloud: E2BControl, limit: dict[str, float]
) -> None:
    sandbox = await AsyncSandbox.create()
    cloud.add_fault("cut", route="process.Start", **limit)
    handle = await sandbox.commands.run("echo out; exec sleep 1000", background=True, timeout=0)
    with pytest.raises(SandboxUnreachableException):
        await handle.wait()
    assert is_alive(handle.pid)
    cloud.remove_faults()
    assert [item.pid for item in await sandbox.commands.list()] == [handle.pid]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_dropped_start_may_have_started_the_command(cloud: E2BControl, when: str) -> None:
    sandbox = await AsyncSandbox.create()
    cloud.add_fault("drop", route="process.Start", when=when)
    with pytest.raises(SandboxUnreachableException):
        await sandbox.commands.run("echo started > started; exec sleep 1000")
    running = 1 if when == "after" else 0
    assert cloud.stats()["processes"] == running
    assert cloud.stats()["open_streams"] == 0
    if running:
        await until(lambda: sandbox.files.exists("started"))


@pytest.mark.parametrize("kind", ["crash", "expire"])
async def test_a_sandbox_lost_in_mid_run_is_said_to_be_gone(cloud: E2BControl, kind: str) -> None:
    sandbox = await AsyncSandbox.create()
    cloud.add_fault(kind, route="process.Start", seconds=0.2)
    handle = await sandbox.commands.run("exec sleep 1000", background=True, timeout=0)
    with pytest.raises(SandboxNotRunningException):
        await handle.wait()
    await until(lambda: not is_alive(handle.pid))
    with pytest.raises(SandboxNotRunningException):
        await sandbox.files.read("x")
    assert cloud.stats()["sandboxes"]["crashed" if kind == "crash" else "expired"] == 1


async def test_a_crash_on_demand_drops_the_streams(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    handle = await sandbox.commands.run("exec sleep 1000", background=True, timeout=0)
    cloud.crash(sandbox.sandbox_id)
    with pytest.raises(SandboxNotRunningException):
        await handle.wait()
    assert not await sandbox.kill()


async def test_an_expiry_on_demand_is_an_expiry(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    cloud.expire(sandbox.sandbox_id)
    with pytest.raises(SandboxNotRunningException):
        await sandbox.commands.run("true")


async def test_a_sandbox_without_envd_is_unreachable_but_there(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    cloud.set_envd(sandbox.sandbox_id, up=False)
    with pytest.raises(SandboxUnreachableException):
        await sandbox.commands.run("true")
    with pytest.raises(SandboxUnreachableException):
        await sandbox.files.read("x")
    cloud.set_envd(sandbox.sandbox_id, up=True)
    await sandbox.commands.run("true")


@pytest.mark.parametrize(
    ("status", "exception"),
    [
        (401, AuthenticationException),
        (403, SandboxException),
        (429, RateLimitException),
        (500, SandboxException),
        (502, SandboxUnreachableException),
        (503, SandboxUnreachableException),
    ],
)
async def test_an_error_in_front_of_envd_has_its_exception(
    cloud: E2BControl, status: int, exception: type[Exception]
) -> None:
    sandbox = await AsyncSandbox.create()
    cloud.add_fault("status", route="process.*", status=status)
    with pytest.raises(exception):
        await sandbox.commands.run("true")
    with pytest.raises(exception):
        await sandbox.commands.list()


async def test_a_slow_answer_runs_into_the_time_limit_of_the_request(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    cloud.add_fault("delay", seconds=30)
    with pytest.raises(TimeoutException):
        await sandbox.commands.run("true", request_timeout=0.1)
    with pytest.raises(httpx.TimeoutException):
        await AsyncSandbox.create(request_timeout=0.1)


async def test_a_stream_in_tiny_pieces_says_the_same(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    cloud.add_fault("slow", piece_bytes=3, seconds=0.0005)
    assert (await sandbox.commands.run("echo 'é\"'")).stdout == 'é"\n'
    await sandbox.files.write("a", "é")
    assert await sandbox.files.read("a") == "é"


async def test_output_is_cut_through_characters_and_lines(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    cloud.add_fault("split", route="process.Start", piece_bytes=1)
    pieces: list[str] = []
    line = json.dumps({"text": "é€"}, ensure_ascii=False)
    result = await sandbox.commands.run(f"echo '{line}'", on_stdout=pieces.append)
    assert result.stdout == line + "\n"
    assert pieces == list(line + "\n")
