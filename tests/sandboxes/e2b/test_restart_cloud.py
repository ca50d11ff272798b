"""A server that stops or dies, and a cloud that has changed meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.e2b.live import Live, comparable, events_of, live_cloud
from tests.support.e2b.tasks import LARGE_FILE
from tests.support.git.repositories import serve_repository
from tests.support.live_server import Client, Json
from tests.support.waiting import PATIENCE_SECONDS, eventually


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with live_cloud(tmp_path) as live:
        yield live


def start(live: Live, client: Client, name: str, *lines: str, repository: str = "") -> int:
    """Start a task that says so, waits for the file `go-NAME`, and then writes."""
    prompt = "\n".join(
        [
            f"started {live.folder / name}.starts",
            f"write {name}.txt before",
            f"say {name} is there",
            f"await {live.folder}/go-{name}",
            *(lines or [f"write {name}.txt after", "say ended"]),
        ]
    )
    return client.start(prompt, repository or live.repository, branch="main")


def start_and_wait(live: Live, client: Client, name: str, *lines: str) -> int:
    task_id = start(live, client, name, *lines)
    client.wait_for_output(task_id, f"{name} is there")
    return task_id


def let_go(live: Live, *names: str) -> None:
    for name in names:
        (live.folder / f"go-{name}").touch()


def starts(live: Live, name: str) -> int:
    return (live.folder / f"{name}.starts").read_text().count("started")


def ended(client: Client, task_id: int) -> Json:
    client.wait_for(task_id)
    return client.task(task_id)


def again(live: Live, client: Client, **settings: object) -> Client:
    """Start the server again."""
    live.server.start(**settings)
    return live.server.client(client.user_id)


def test_a_server_that_stops_leaves_agents_to_their_sandboxes_and_puts_clones_back(
    live: Live,
) -> None:
    live.server.start(SHUTDOWN_GRACE_SECONDS=0)
    client = live.server.client()
    agent = start_and_wait(live, client, "agent")
    talking = start_and_wait(live, client, "talking", "raw half a ", f"await {live.folder}/go-2")
    let_go(live, "talking")
    out = live.agent_file(talking, "out")
    eventually(lambda: out.read_text().endswith("half a "))
    with serve_repository(Path(live.repository), live.folder / "served") as git_server:
        clone = start(live, client, "clone", repository=git_server.url)
        assert git_server.waiting.acquire(timeout=PATIENCE_SECONDS)
        sandbox = live.sandbox_of(agent)["sandboxID"]
        assert live.server.terminate() == 0
        assert {one["sandboxID"] for one in live.cloud.sandboxes()} >= {sandbox}
        assert len(live.cloud.sandboxes()) == 2
        git_server.gate.set()
        (live.folder / "go-2").touch()
        client = again(live, client)
        let_go(live, "agent", "clone")
        rows = {one: ended(client, one) for one in (agent, talking, clone)}
    assert [row["status"] for row in rows.values()] == ["completed"] * 3, rows
    assert [row["execution_metadata"]["attempt"] for row in rows.values()] == [1, 1, 1]
    assert rows[agent]["container_id"] == sandbox
    assert [starts(live, name) for name in ("agent", "talking", "clone")] == [1, 1, 1]
    assert comparable(events_of(client, talking))["stdout"].startswith("half a\n")
    stages = [d["stage"] for k, d in events_of(client, agent) if k == "status" and "stage" in d]
    assert stages == ["cloning", "agent", "capturing"]
    live.wait_until_none_alive()


def test_a_server_that_stops_stores_a_result_that_it_reads_and_ends_what_it_opens(
    live: Live,
) -> None:
    live.server.start(SHUTDOWN_GRACE_SECONDS=0)
    client = live.server.client()
    read = live.hold("files.read", seconds=2)
    reading = start_and_wait(live, client, "reading", LARGE_FILE)
    let_go(live, "reading", "opening")
    read()
    created = live.hold("create", seconds=2)
    opening = start(live, client, "opening")
    created()
    assert live.server.terminate() == 0
    assert live.cloud.sandboxes() == []
    assert live.cloud.stats()["sandboxes"]["created"] == 2
    client = again(live, client)
    assert client.status(reading)["status"] == "completed"
    for task_id in (reading, opening):
        row = ended(client, task_id)
        assert (row["status"], row["execution_metadata"]["attempt"]) == ("completed", 1)
    assert (starts(live, "reading"), starts(live, "opening")) == (1, 1)
    live.wait_until_none_alive()


def test_a_server_that_is_killed_is_followed_by_one_that_goes_on(live: Live) -> None:
    live.server.start(SHUTDOWN_GRACE_SECONDS=1)
    client = live.server.client()
    task_id = start_and_wait(live, client, "one", "lines 5")
    live.server.kill()
    live.server.start()
    let_go(live, "one")
    client = live.server.client(client.user_id)
    row = ended(client, task_id)
    assert (row["status"], row["execution_metadata"]["attempt"]) == ("completed", 1)
    printed = [data["text"] for kind, data in events_of(client, task_id) if kind == "message"]
    assert printed[1:-1] == [f"line {number}" for number in range(5)]
    assert starts(live, "one") == 1
    live.wait_until_none_alive()


def test_a_restart_while_the_cloud_cannot_be_reached_waits_for_it(live: Live) -> None:
    live.server.start()
    client = live.server.client()
    task_id = start_and_wait(live, client, "one")
    live.server.kill()
    let_go(live, "one")
    live.cloud.refuse()
    client = again(live, client)
    waiting = start(live, client, "two")
    let_go(live, "two")
    eventually(lambda: "job=sweep" in live.server.output.read_text())
    assert client.status(task_id)["status"] == "running"
    assert client.status(waiting)["status"] in {"pending", "running"}
    live.cloud.accept()
    for one in (task_id, waiting):
        row = ended(client, one)
        assert row["status"] == "completed", row
    assert (starts(live, "one"), starts(live, "two")) == (1, 1)
    live.wait_until_none_alive()


@pytest.mark.parametrize("retry", [False, True])
def test_a_sandbox_that_died_while_there_was_no_server_is_lost(live: Live, retry: bool) -> None:
    live.server.start(RETRY_LOST_SANDBOX=retry)
    client = live.server.client()
    crashed, expired = (start_and_wait(live, client, name) for name in ("crashed", "expired"))
    live.server.kill()
    live.cloud.crash(live.sandbox_of(crashed)["sandboxID"])
    live.cloud.expire(live.sandbox_of(expired)["sandboxID"])
    let_go(live, "crashed", "expired")
    client = again(live, client)
    for task_id, name in ((crashed, "crashed"), (expired, "expired")):
        row = ended(client, task_id)
        if retry:
            assert row["status"] == "completed", row
            assert starts(live, name) == 2
            assert "+after" in row["git_diff"]
        else:
            found = (row["status"], row["error_code"], row["error_stage"])
            assert found == ("failed", "sandbox_lost", "agent")
            assert starts(live, name) == 1
            assert "RETRY_LOST_SANDBOX" in row["error"]
    live.wait_until_none_alive()


def test_a_sandbox_that_was_paused_at_its_end_goes_on_with_the_next_server(live: Live) -> None:
    live.server.start(E2B_ON_TIMEOUT="pause")
    client = live.server.client()
    task_id = start_and_wait(live, client, "one")
    live.server.kill()
    sandbox = live.sandbox_of(task_id)["sandboxID"]
    live.cloud.expire(sandbox)
    assert live.sandbox_of(task_id)["state"] == "paused"
    let_go(live, "one")
    client = again(live, client, E2B_ON_TIMEOUT="pause")
    row = ended(client, task_id)
    assert (row["status"], row["container_id"]) == ("completed", sandbox), row
    assert "+after" in row["git_diff"]
    assert starts(live, "one") == 1
    live.wait_until_none_alive()


def test_an_agent_started_anew_is_followed_from_its_beginning_after_a_second_restart(
    live: Live,
) -> None:
    live.server.start(RETRY_LOST_SANDBOX=True)
    client = live.server.client()
    lines = ("lines 5", f"await {live.folder}/go-2", "lines 3")
    task_id = start_and_wait(live, client, "one", *lines)
    let_go(live, "one")
    client.wait_for_output(task_id, "line 4")
    held = live.hold("process.Start", skip=1)
    live.cloud.crash(live.sandbox_of(task_id)["sandboxID"])
    held()
    assert '"agent.sh"' in live.cloud.requests("process.Start")[-1]["body"]
    live.server.kill()
    (live.folder / "go-2").touch()
    client = again(live, client)
    row = ended(client, task_id)
    assert row["status"] == "completed", row
    events = events_of(client, task_id)
    anew = events[len(events) - 1 - events[::-1].index(("status", {"stage": "agent"})) :]
    printed = [data["text"] for kind, data in anew if kind == "message"]
    lines_said = [*(f"line {n}" for n in range(5)), *(f"line {n}" for n in range(3))]
    assert printed == ["one is there", *lines_said, printed[-1]]


def let_an_hour_pass(live: Live) -> None:
    """Have the database say that the agents were started an hour earlier."""
    moment = (datetime.now(UTC) - timedelta(hours=1)).isoformat(timespec="microseconds")
    with closing(sqlite3.connect(live.server.data_dir / "async-code.db")) as connection:
        connection.execute("UPDATE task_runs SET agent_started_at = ?", [moment])
        connection.commit()


def test_an_hour_later_a_result_is_read_and_an_agent_at_work_is_ended(live: Live) -> None:
    live.server.start()
    client = live.server.client()
    late, early = (start_and_wait(live, client, name) for name in ("late", "early"))
    live.server.kill()
    code = live.agent_file(early, "code")
    let_go(live, "early")
    eventually(code.exists)
    let_an_hour_pass(live)
    client = again(live, client)
    row = ended(client, early)
    assert row["status"] == "completed", row
    assert "+after" in row["git_diff"]
    row = ended(client, late)
    found = (row["status"], row["error_code"], row["error_stage"])
    assert found == ("failed", "agent_timeout", "agent")
    assert "+before" in row["git_diff"]
    assert (starts(live, "early"), starts(live, "late")) == (1, 1)
    live.wait_until_none_alive()
