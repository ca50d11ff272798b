"""The fake's commands behave as envd's do (docs/e2b.md section 5), tested through the real SDK."""

from __future__ import annotations

import asyncio
import http.client
import json

import pytest
from e2b import (
    AsyncSandbox,
    AuthenticationException,
    CommandExitException,
    InvalidArgumentException,
    NotFoundException,
    Sandbox,
    TimeoutException,
)

from tests.fakes.e2b.control import E2BControl
from tests.support.waiting import PATIENCE_SECONDS, is_alive, until

pytestmark = pytest.mark.anyio

WAIT_FOR_GO = "until [ -e go ]; do sleep 0.02; done"


async def test_a_command_returns_what_it_printed(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    result = await sandbox.commands.run("echo out; echo err >&2")
    assert (result.stdout, result.stderr, result.exit_code) == ("out\n", "err\n", 0)


def test_the_synchronous_class_runs_commands_too(cloud: E2BControl) -> None:
    with Sandbox.create() as sandbox:
        assert sandbox.commands.run("echo out").stdout == "out\n"
    assert cloud.stats()["sandboxes"]["alive"] == 0


async def test_a_failing_command_raises_with_its_output(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    with pytest.raises(CommandExitException) as failure:
        await sandbox.commands.run("echo out; exit 7")
    assert (failure.value.exit_code, failure.value.error) == (7, "exit status 7")
    assert failure.value.stdout == "out\n"


async def test_the_timeout_of_the_start_ends_the_command(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    with pytest.raises(TimeoutException):
        await sandbox.commands.run("sleep 1000", timeout=0.2)
    await until(lambda: cloud.stats()["processes"] == 0)


async def test_the_timeout_kills_even_when_the_client_has_gone(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    handle = await sandbox.commands.run("exec sleep 1000", background=True, timeout=2)
    await handle.disconnect()
    await until(lambda: not is_alive(handle.pid))
    again = await sandbox.commands.connect(handle.pid)
    with pytest.raises(CommandExitException) as failure:
        await again.wait()
    assert (failure.value.exit_code, failure.value.error) == (-1, "signal: killed")


async def test_another_client_takes_over_a_running_command(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    first = await sandbox.commands.run(f"{WAIT_FOR_GO}; echo end", background=True, timeout=0)
    await first.disconnect()
    second = await AsyncSandbox.connect(sandbox.sandbox_id)
    handle = await second.commands.connect(first.pid, timeout=0)
    await second.files.write("go", "")
    assert (await handle.wait()).stdout == "end\n"


async def test_output_that_nobody_listens_to_is_lost(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    script = "until [ -e one ]; do sleep 0.02; done; echo lost; touch two"
    first = await sandbox.commands.run(f"{script}; {WAIT_FOR_GO}; echo kept", background=True)
    await first.disconnect()
    await until(lambda: cloud.stats()["open_streams"] == 0)
    await sandbox.files.write("one", "")
    await until(lambda: sandbox.files.exists("two"))
    second = await sandbox.commands.connect(first.pid)
    await sandbox.files.write("go", "")
    assert (await second.wait()).stdout == "kept\n"


async def test_the_exit_code_is_known_for_a_while_without_the_output(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    handle = await sandbox.commands.run("echo out; exit 4", background=True)
    with pytest.raises(CommandExitException):
        await handle.wait()
    with pytest.raises(CommandExitException) as failure:
        await (await sandbox.commands.connect(handle.pid)).wait()
    assert (failure.value.exit_code, failure.value.stdout) == (4, "")


async def test_the_exit_code_is_forgotten_after_that(cloud: E2BControl) -> None:
    cloud.configure(exit_kept_seconds=0)
    sandbox = await AsyncSandbox.create()
    handle = await sandbox.commands.run("true", background=True)
    await handle.wait()
    with pytest.raises(NotFoundException):
        await sandbox.commands.connect(handle.pid)


async def test_a_command_ends_only_when_all_have_closed_its_output(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    handle = await sandbox.commands.run(f"({WAIT_FOR_GO}; echo child) & echo parent", True)
    zombie = f"until grep -q '^State:.Z' /proc/{handle.pid}/status; do sleep 0.01; done"
    await sandbox.commands.run(zombie)
    assert handle.exit_code is None
    await sandbox.files.write("go", "")
    assert (await handle.wait()).stdout == "parent\nchild\n"


async def test_kill_reaches_one_process_only(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    handle = await sandbox.commands.run("sleep 1000 & echo $!; wait", True, timeout=0)
    await until(lambda: handle.stdout.endswith("\n"))
    child = int(handle.stdout)
    assert await sandbox.commands.kill(handle.pid)
    await until(lambda: not is_alive(handle.pid))
    assert is_alive(child)
    await sandbox.kill()
    assert not is_alive(child)


async def test_setsid_keeps_the_pid_and_makes_a_group_of_its_own(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    handle = await sandbox.commands.run("exec setsid sh -c 'sleep 1000; true'", True, timeout=0)
    group = f"kill -9 -- -{handle.pid}"
    await until(lambda: cloud.stats()["open_streams"] == 1)
    await sandbox.commands.run(f"until {group} 2>/dev/null; do sleep 0.01; done")
    with pytest.raises(CommandExitException) as failure:
        await handle.wait()
    assert failure.value.error == "signal: killed"


async def test_killing_an_unknown_process_is_no_error(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    assert not await sandbox.commands.kill(999_999_999)


async def test_what_left_the_process_group_dies_with_the_sandbox(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    script = "setsid sleep 1000 >/dev/null 2>&1 & echo $!"
    stray = int((await sandbox.commands.run(script)).stdout)
    assert is_alive(stray)
    await sandbox.kill()
    assert not is_alive(stray)


async def test_output_comes_in_pieces_of_32_kib_at_most(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    sizes: list[int] = []
    script = "head -c 500000 /dev/zero | tr '\\0' x"
    await sandbox.commands.run(script, on_stdout=lambda text: sizes.append(len(text)))
    assert sum(sizes) == 500_000
    assert max(sizes) <= 32_768


async def test_a_slow_listener_holds_the_command_back(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    listening = asyncio.Event()

    async def wait(_text: str) -> None:
        await listening.wait()

    script = "head -c 40000000 /dev/zero; touch done"
    handle = await sandbox.commands.run(
        script, True, on_stdout=wait, timeout=0, retain_output=False
    )
    await sandbox.commands.run("sleep 0.3")
    assert not await sandbox.files.exists("done")
    await handle.disconnect()
    await until(lambda: sandbox.files.exists("done"))


async def test_input_is_written_closed_and_streamed(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    handle = await sandbox.commands.run("cat", background=True, stdin=True)
    await handle.send_stdin("one\n")
    async with sandbox.commands.stream_input(handle.pid) as stream:
        await stream.send("two\n")
        await stream.send(b"x" * 300_000)
    await handle.close_stdin()
    assert (await handle.wait()).stdout == "one\ntwo\n" + "x" * 300_000


async def test_without_stdin_a_command_reads_nothing(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    assert (await sandbox.commands.run("cat; echo end")).stdout == "end\n"


async def test_running_commands_are_listed_with_their_variables(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    handle = await sandbox.commands.run("sleep 1000", True, envs={"A": "1"}, cwd="/home/user")
    (found,) = await sandbox.commands.list()
    assert (found.pid, found.args, found.envs) == (
        handle.pid,
        ["-l", "-c", "sleep 1000"],
        {"A": "1"},
    )
    assert found.cwd == "/home/user"


async def test_the_login_shell_sets_path_anew(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    result = await sandbox.commands.run("echo $PATH", envs={"PATH": "/nowhere"})
    assert "/nowhere" not in result.stdout


async def test_the_home_is_found_by_either_name(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create(envs={"WHERE": "/home/user/a"})
    await sandbox.files.make_dir("a")
    script = 'pwd; [ /home/user = "$HOME" ] && echo same; echo file:///home/user/a $WHERE'
    result = await sandbox.commands.run(script, cwd="/home/user/a")
    home = result.stdout.partition("/a\n")[0]
    assert result.stdout == f"{home}/a\nsame\nfile://{home}/a {home}/a\n"
    again = await sandbox.commands.run(f"echo {home}/a", cwd=home)
    assert again.stdout == f"{home}/a\n"


async def test_a_missing_directory_and_an_unknown_user_are_refused(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    with pytest.raises(InvalidArgumentException):
        await sandbox.commands.run("true", cwd="/home/user/missing")
    with pytest.raises(AuthenticationException):
        await sandbox.commands.run("true", user="nobody")


async def test_an_idle_stream_is_kept_alive(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    await sandbox.commands.list()
    host, _, port = cloud.url.removeprefix("http://").partition(":")
    process = {"cmd": "sh", "args": ["-c", WAIT_FOR_GO]}
    message = json.dumps({"process": process, "stdin": False}).encode()
    headers = {
        "E2b-Sandbox-Id": sandbox.sandbox_id,
        "X-Access-Token": cloud.requests("process.List")[0]["headers"]["x-access-token"],
        "Keepalive-Ping-Interval": "1",
        "Content-Type": "application/connect+json",
    }
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_SECONDS)
    body = b"\0" + len(message).to_bytes(4, "big") + message
    connection.request("POST", "/process.Process/Start", body, headers)
    response = connection.getresponse()
    answer = b""
    while b'{"event":{"keepalive":{}}}' not in answer:
        piece = response.read1()
        assert piece
        answer += piece
    await sandbox.files.write("go", "")
    answer += response.read()
    connection.close()
    assert b'"exitCode": 0' in answer
