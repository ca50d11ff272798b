"""The fake does what was seen on the real daemon (docs/e2b.md section 11), row by row."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from datetime import timedelta
from typing import Any

import httpx
import pytest
from e2b import (
    AsyncSandbox,
    CommandExitException,
    FileNotFoundException,
    FilesystemEvent,
    FilesystemEventType,
    FileType,
    InvalidArgumentException,
    Sandbox,
    SandboxException,
    SandboxNotRunningException,
    TimeoutException,
)

from tests.fakes.e2b.control import E2BControl
from tests.fakes.e2b.processes import UserNamespace
from tests.support.waiting import is_alive, until

pytestmark = pytest.mark.anyio

RULE = {"transform": {"headers": {"Authorization": "x"}}}
HELD = "sleep 1000 & echo $!; wait"


@pytest.fixture
def namespace() -> None:
    """Skip the test where this machine allows no user namespaces."""
    users = UserNamespace()
    if not users.is_available:
        pytest.skip("commands run as whoever runs the fake")
    users.close()


async def refusal(call: Any) -> tuple[int | None, str]:
    """Return the status and the text of an answer that refuses a request."""
    with pytest.raises(SandboxException) as raised:
        await call
    return raised.value.status_code, str(raised.value)


async def test_a_prolongation_ends_silently_where_the_plan_ends(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create(timeout=60)
    await sandbox.set_timeout(7200)
    info = await sandbox.get_info()
    life = info.end_at - info.started_at
    assert timedelta(seconds=3595) < life <= timedelta(seconds=3601)
    await AsyncSandbox.connect(sandbox.sandbox_id, timeout=3600)
    assert (await sandbox.get_info()).end_at - info.end_at < timedelta(seconds=1)


async def test_a_sandbox_at_the_end_of_its_plan_is_not_prolonged(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create(timeout=3600)
    cloud.configure(max_timeout_seconds=0)
    status, text = await refusal(sandbox.set_timeout(60))
    assert (status, "Max instance length exceeded" in text) == (400, True)


async def test_a_resumed_sandbox_lives_as_long_as_a_new_one(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create(timeout=3600)
    first = await sandbox.get_info()
    await sandbox.pause()
    await sandbox.connect(timeout=3600)
    second = await sandbox.get_info()
    assert second.started_at > first.started_at
    assert second.end_at > first.end_at


@pytest.mark.parametrize("path", ["file/below", "loop"])
async def test_a_path_that_cannot_be_looked_up_is_an_error_of_the_daemon(
    cloud: E2BControl, path: str
) -> None:
    sandbox = await AsyncSandbox.create()
    await sandbox.commands.run("touch file; ln -s loop loop")
    with pytest.raises(SandboxException) as raised:
        await sandbox.files.read(path)
    assert not isinstance(raised.value, FileNotFoundException)


async def test_reading_and_writing_a_fifo_wait(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    await sandbox.commands.run("mkfifo fifo")
    with pytest.raises((TimeoutException, httpx.TimeoutException)):
        await sandbox.files.read("fifo", request_timeout=0.3)
    with pytest.raises((TimeoutException, httpx.TimeoutException)):
        await sandbox.files.write("fifo", "x", request_timeout=0.3)
    assert (await sandbox.commands.run("echo here")).stdout == "here\n"


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"127.0.0.1": [RULE]}, "not a valid domain name"),
        ({"host:8080": [RULE]}, "not a valid domain name"),
        ({"example.com": [RULE, RULE]}, "at most 1 transform"),
        ({f"h{number}.example.com": [RULE] for number in range(11)}, "at most 10 domains"),
        ({"example.com": [{"transform": {"headers": {"a": "x" * 2049}}}]}, "2048 characters"),
    ],
)
async def test_network_rules_have_limits(
    cloud: E2BControl, rules: dict[str, Any], words: str
) -> None:
    status, text = await refusal(AsyncSandbox.create(network={"rules": rules}))
    assert (status, words in text) == (400, True), text
    sandbox = await AsyncSandbox.create()
    status, text = await refusal(sandbox.update_network({"rules": rules}))
    assert (status, words in text) == (400, True), text


async def test_network_rules_need_a_plan_that_has_them(cloud: E2BControl) -> None:
    rules: Any = {"rules": {"example.com": [RULE]}}
    sandbox = await AsyncSandbox.create(network=rules)
    await sandbox.update_network(rules)
    cloud.configure(transform_rules=False)
    for call in (AsyncSandbox.create(network=rules), sandbox.update_network(rules)):
        status, text = await refusal(call)
        assert (status, "not available for your team" in text) == (400, True)
    await sandbox.update_network({})


async def test_a_kill_ends_the_command_at_once_although_a_child_holds_its_output(
    cloud: E2BControl,
) -> None:
    sandbox = await AsyncSandbox.create()
    script = "(until [ -e go ]; do sleep 0.02; done; echo lost; sleep 1000) & echo $!; wait"
    handle = await sandbox.commands.run(script, background=True, timeout=0)
    await until(lambda: handle.stdout.endswith("\n"))
    assert await sandbox.commands.kill(handle.pid)
    with pytest.raises(CommandExitException) as raised:
        await handle.wait()
    assert (raised.value.exit_code, raised.value.error) == (-1, "signal: killed")
    assert is_alive(int(handle.stdout))
    await sandbox.files.write("go", "")
    assert "lost" not in handle.stdout


async def test_a_command_that_timed_out_leaves_the_list_although_a_child_holds_its_output(
    cloud: E2BControl,
) -> None:
    sandbox = await AsyncSandbox.create()
    with pytest.raises(TimeoutException):
        await sandbox.commands.run(HELD, timeout=0.3)

    async def is_unlisted() -> bool:
        return not await sandbox.commands.list()

    await until(is_unlisted)


async def test_the_idempotency_key_of_an_ended_sandbox_is_refused(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create(idempotency_key="task-1")
    await sandbox.kill()
    status, _ = await refusal(AsyncSandbox.create(idempotency_key="task-1"))
    assert status == 409


async def test_commands_run_as_a_user_and_files_are_read_by_root(
    cloud: E2BControl, namespace: None
) -> None:
    sandbox = await AsyncSandbox.create()
    script = "id -u; echo secret >f; chmod 000 f; cat f 2>&1"
    with pytest.raises(CommandExitException) as raised:
        await sandbox.commands.run(script)
    assert raised.value.stdout == "1000\ncat: f: Permission denied\n"
    assert await sandbox.files.read("f") == "secret\n"
    await sandbox.commands.run("mkdir d; echo deep >d/f; chmod 000 d/f d")
    assert await sandbox.files.read("d/f") == "deep\n"
    assert [item.name for item in await sandbox.files.list("d")] == ["f"]
    await sandbox.files.write("d/f", "new")
    assert await sandbox.files.read("d/f") == "new"
    if os.geteuid() == 0:
        assert (await sandbox.commands.run("id -u; cat f", user="root")).stdout == "0\nsecret\n"


async def test_commands_of_a_user_see_and_end_each_other(
    cloud: E2BControl, namespace: None
) -> None:
    sandbox = await AsyncSandbox.create()
    other = await sandbox.commands.run("exec sleep 1000", True, envs={"MARK": "1"}, timeout=0)
    seen = f"grep -qzx MARK=1 /proc/{other.pid}/environ"
    script = f"until {seen}; do sleep 0.02; done; kill -9 {other.pid}"
    assert (await sandbox.commands.run(script)).exit_code == 0
    await until(lambda: not is_alive(other.pid))


def test_a_signed_link_ends_with_its_time(cloud: E2BControl) -> None:
    sandbox = Sandbox.create()
    sandbox.files.write("a.txt", "signed")
    with urllib.request.urlopen(sandbox.download_url("a.txt", use_signature_expiration=60)) as it:
        assert it.read() == b"signed"
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(sandbox.download_url("a.txt", use_signature_expiration=-60))
    with raised.value as response:
        assert response.status == 401


async def test_what_a_command_cannot_be_started_with_is_an_invalid_argument(
    cloud: E2BControl,
) -> None:
    sandbox = await AsyncSandbox.create()
    await sandbox.files.write("file", "")
    with pytest.raises(InvalidArgumentException):
        await sandbox.commands.run("true", cwd="/home/user/file")
    with pytest.raises(InvalidArgumentException):
        await sandbox.commands.run("true", envs={"A": "a\0b"})


async def test_one_path_twice_is_an_invalid_argument_and_the_first_is_written(
    cloud: E2BControl,
) -> None:
    sandbox = await AsyncSandbox.create()
    with pytest.raises(InvalidArgumentException, match="same path"):
        await sandbox.files.write_files(
            [{"path": "a", "data": "first"}, {"path": "/home/user/a", "data": "second"}]
        )
    assert await sandbox.files.read("a") == "first"


async def test_a_missing_program_is_exit_code_127(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    with pytest.raises(CommandExitException) as raised:
        await sandbox.commands.run("no-such-program")
    assert raised.value.exit_code == 127
    # The SDK starts only bash, so this is a request of its own.
    await sandbox.commands.list()
    token = cloud.requests("process.List")[0]["headers"]["x-access-token"]
    host, _, port = cloud.url.removeprefix("http://").partition(":")
    message = json.dumps({"process": {"cmd": "no-such-program"}, "stdin": False}).encode()
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    headers = {
        "E2b-Sandbox-Id": sandbox.sandbox_id,
        "X-Access-Token": token,
        "Content-Type": "application/connect+json",
    }
    body = b"\0" + len(message).to_bytes(4, "big") + message
    connection.request("POST", "/process.Process/Start", body, headers)
    assert b'"exitCode": 127' in connection.getresponse().read()
    connection.close()


async def test_lists_resolve_links_and_leave_out_what_is_no_file(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    await sandbox.commands.run(
        "mkdir -p top/folder; echo 123 >top/file; chmod 640 top/file; cd top;"
        "ln -s folder to-folder; ln -s file to-file; ln -s nowhere dangling; mkfifo fifo"
    )
    found = {item.name: item for item in await sandbox.files.list("top")}
    assert sorted(found) == ["file", "folder", "to-file", "to-folder"]
    link = await sandbox.files.get_info("top/to-file")
    assert (link.type, link.symlink_target) == (FileType.SYMLINK, "/home/user/top/file")
    assert link.mode == found["file"].mode == 0o640
    assert (await sandbox.files.get_info("top/fifo")).type is None
    assert (await sandbox.files.get_info("top/dangling")).symlink_target == (
        "/home/user/top/dangling"
    )


@pytest.mark.parametrize(
    ("wanted", "status", "content"),
    [
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=10-", 416, b""),
    ],
)
def test_a_part_of_a_file_can_be_read(
    cloud: E2BControl, wanted: str, status: int, content: bytes
) -> None:
    sandbox = Sandbox.create()
    sandbox.files.write("digits", "0123456789")
    request = urllib.request.Request(sandbox.download_url("digits"), headers={"Range": wanted})
    try:
        response = urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        assert (response.status, response.read()) == (status, content)


CHANGES = (
    "echo a >watched/a; chmod 600 watched/a; mv watched/a watched/b; rm watched/b; mkdir watched/d"
)
EXPECTED_EVENTS = {
    ("a", FilesystemEventType.CREATE),
    ("a", FilesystemEventType.WRITE),
    ("a", FilesystemEventType.CHMOD),
    ("a", FilesystemEventType.RENAME),
    ("b", FilesystemEventType.CREATE),
    ("b", FilesystemEventType.REMOVE),
    ("d", FilesystemEventType.CREATE),
}


async def test_a_watched_folder_tells_its_changes(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    await sandbox.files.make_dir("watched")
    events: list[FilesystemEvent] = []
    watch = await sandbox.files.watch_dir(
        "watched", events.append, recursive=True, include_entry=True
    )
    await sandbox.commands.run(CHANGES)
    await until(lambda: {(item.name, item.type) for item in events} >= EXPECTED_EVENTS)
    await sandbox.files.write("watched/d/deep", "x")
    await until(lambda: "d/deep" in {item.name for item in events})
    (made,) = [item for item in events if item.name == "d"]
    assert made.entry is not None
    assert made.entry.type is FileType.DIR
    await watch.stop()  # type: ignore[no-untyped-call]


async def test_a_watch_ends_with_its_sandbox(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    ends: list[Exception | None] = []
    await sandbox.files.watch_dir(".", lambda _event: None, ends.append, timeout=0)
    await sandbox.kill()
    await until(lambda: bool(ends))
    assert isinstance(ends[0], SandboxNotRunningException)


def test_changes_can_be_asked_for(cloud: E2BControl) -> None:
    sandbox = Sandbox.create()
    sandbox.files.make_dir("watched")
    watch = sandbox.files.watch_dir("watched")
    sandbox.commands.run(CHANGES)
    assert {(item.name, item.type) for item in watch.get_new_events()} == EXPECTED_EVENTS
    assert watch.get_new_events() == []
    watch.stop()
    with pytest.raises(FileNotFoundException):
        sandbox.files.watch_dir("missing")
    sandbox.files.write("file", "")
    with pytest.raises(InvalidArgumentException):
        sandbox.files.watch_dir("file")
