"""Tests rules of operators, and the stream of a command's output."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.conftest import Headers
from tests.sandbox_service.api import Reply, Sandboxes
from tests.support.backends import Open
from tests.support.live_server import LiveServer
from tests.support.waiting import PATIENCE_SECONDS, eventually
from utils.errors import Forbidden
from utils.sandbox_service import open_sandboxes
from utils.sandbox_service.policy import CommandPolicy

pytestmark = pytest.mark.local_only("rules of the server, not of the sandbox")


def test_a_policy_allows_programs_and_denies_command_lines(open_with: Open) -> None:
    rules = "allow:git, allow:echo, deny:*--force*"
    sandboxes = Sandboxes(open_with(sandbox_command_policy=rules).app)
    box = sandboxes.create()
    assert sandboxes.output(box, ["echo", "fine"]) == "fine\n"
    for command in (["/bin/echo", "no"], ["python3", "-c", "1"], "echo no", ["echo", "--force"]):
        reply = sandboxes.execute(box, command)
        assert (reply.status, reply.json["code"]) == (403, "command_refused"), command
    refused = sandboxes.send("GET", f"/{box}/operations").json["operations"][0]
    assert (refused["error_code"], refused["command"]) == ("command_refused", "echo --force")


def test_a_pattern_takes_no_longer_for_a_hostile_command() -> None:
    policy = CommandPolicy(["deny:" + "*a" * 20 + "b"])
    policy.check(["a" * 60_000])
    with pytest.raises(Forbidden):
        policy.check(["a" * 60_000 + "b"])


def test_commands_are_refused_where_nothing_isolates_them(open_with: Open) -> None:
    settings = {"environment": "production", "sandbox": "local", "jwt_secret": "s" * 40}
    sandboxes = Sandboxes(open_with(**settings, trust_user_id=True).app)
    box = sandboxes.create()
    reply = sandboxes.execute(box, ["true"])
    assert (reply.status, reply.json["code"]) == (403, "sandbox_not_isolated")
    assert "SANDBOX=isolated" in reply.json["error"]


def test_a_command_waits_for_another_one_and_is_then_refused(
    open_with: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_sandboxes, "BUSY_WAIT_SECONDS", 0.2)
    sandboxes = Sandboxes(open_with(http_threads=4).app)
    first, second = sandboxes.create(), sandboxes.create()
    with ThreadPoolExecutor() as pool:

        def begin(box: int) -> Future[Reply]:
            command = "touch begun; until [ -e go ]; do sleep 0.05; done"
            slow = pool.submit(sandboxes.execute, box, command)
            eventually(lambda: sandboxes.send("GET", f"/{box}/files/begun").status == 200)
            return slow

        slow = [begin(first)]
        reply = sandboxes.execute(first, ["true"])
        assert (reply.status, reply.json["code"]) == (409, "sandbox_busy")
        # A link could be put in the way of a file that is written meanwhile.
        written = sandboxes.send("PUT", f"/{first}/files/go", data=b"")
        assert written.json["code"] == "sandbox_busy"
        # Commands take half of the threads at most.
        slow.append(begin(second))
        reply = sandboxes.execute(second, ["true"])
        assert (reply.status, reply.json["code"]) == (503, "sandbox_unavailable")
        for box in (first, second):
            sandboxes.end(box)
        assert [one.result().status for one in slow] == [410, 410]


def events(server: LiveServer, box: int, headers: Headers, command: str) -> Iterator[Any]:
    """Yield the events of a command, as they come."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_SECONDS)
    body = json.dumps({"command": command, "timeout_seconds": 30})
    kinds = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    connection.request("POST", f"/api/v1/sandboxes/{box}/execute", body, {**headers, **kinds})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    name = ""
    for raw in answer:
        field, _, value = raw.decode().rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)
    connection.close()


def test_output_is_streamed_while_the_command_runs(server: LiveServer) -> None:
    client = server.client()
    headers = {"X-User-ID": client.user_id}
    box = client.post("/v1/sandboxes", {}).body["sandbox"]["id"]
    # The command ends only when its first line was read.
    command = "echo first; until [ -e go ]; do sleep 0.05; done; echo é >&2; exit 4"
    stream = events(server, box, headers, command)
    assert next(stream) == ("stdout", {"text": "first\n"})
    [folder] = (server.data_dir / "sandboxes").glob("sandbox-*")
    (folder / "home" / "go").touch()
    assert next(stream) == ("stderr", {"text": "é\n"})
    name, fields = next(stream)
    assert (name, fields["exit_code"], fields["truncated"]) == ("exit", 4, False)
    assert list(stream) == []
    # A sandbox on this machine ends with its server.
    assert server.terminate() == 0
    assert not folder.exists()
