"""A task that is given up while it is taken over after a restart leaves no sandbox at work."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.e2b.live import Live, live_cloud
from tests.support.live_server import Client
from tests.support.waiting import eventually
from utils.dispatcher.recovery import MAX_LATE_RESUMES, MAX_RESUMES

# So long that no sweep ends what the test is about.
GRACE_SECONDS = 3600


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with live_cloud(tmp_path, SWEEP_GRACE_SECONDS=GRACE_SECONDS) as live:
        live.server.start()
        yield live


def start_and_kill(live: Live) -> tuple[Client, int]:
    """Kill the server while an agent is at work."""
    client = live.server.client()
    prompt = f"say begun\nawait {live.folder / 'go'}\nwrite a.txt a"
    task_id = client.start(prompt, live.repository)
    client.wait_for_output(task_id, "begun")
    live.server.kill()
    return client, task_id


def start_again(live: Live, client: Client, **settings: object) -> Client:
    live.server.start(**settings)
    return live.server.client(client.user_id)


def test_a_task_that_is_cancelled_while_it_is_reached_again(live: Live) -> None:
    client, task_id = start_and_kill(live)
    reached = live.hold("connect")
    client = start_again(live, client)
    reached()
    answer = client.post(f"/tasks/{task_id}/cancel")
    assert (answer.code, answer.body["task"]["status"]) == (200, "cancelled")
    assert live.cloud.stats()["sandboxes"]["alive"] == 0


def test_a_task_whose_key_is_gone(live: Live) -> None:
    client, task_id = start_and_kill(live)
    client = start_again(live, client, ANTHROPIC_API_KEY="")
    assert client.wait_for(task_id)["error_code"] == "agent_not_configured"
    live.wait_until_none_alive()


def test_a_task_whose_sandbox_cannot_be_reached_in_time(live: Live) -> None:
    client, task_id = start_and_kill(live)
    live.cloud.add_fault("status", route="connect", status=503)
    client = start_again(live, client, SANDBOX_TIMEOUT_SECONDS=2, AGENT_TIMEOUT_SECONDS=1)
    assert client.wait_for(task_id)["error_code"] == "sandbox_timeout"
    live.wait_until_none_alive()


def test_a_task_that_every_server_dies_under_is_given_up_in_the_end(live: Live) -> None:
    client, task_id = start_and_kill(live)
    reached = live.hold("connect")
    start_again(live, client)
    reached()
    live.server.kill()
    with closing(sqlite3.connect(live.server.data_dir / "async-code.db")) as connection:
        change = "UPDATE task_runs SET resumes = resumes + ? RETURNING resumes"
        assert connection.execute(change, [MAX_RESUMES - 1]).fetchall() == [(MAX_RESUMES,)]
        connection.commit()
    assert_given_up(live, client, task_id)


@pytest.mark.parametrize("late_by", ["stage", "age"])
def test_a_task_under_which_servers_die_at_its_end_is_given_up_whatever_else_is_printed(
    live: Live, late_by: str
) -> None:
    client, task_id = start_and_kill(live)
    out = live.agent_file(task_id, "out")
    change = {
        "stage": "UPDATE task_runs SET position = json_set(position, '$.stage', 'capturing')",
        "age": "UPDATE task_runs SET agent_started_at = '2020-01-01T00:00:00.000000+00:00'",
    }[late_by]
    with closing(sqlite3.connect(live.server.data_dir / "async-code.db")) as connection:
        connection.execute(change)
        connection.commit()
    for number in range(MAX_LATE_RESUMES):
        # As a process does that the agent has left behind.
        with out.open("a") as file:
            file.write(f"still here {number}\n")
        client = start_again(live, client)
        client.wait_for_output(task_id, f"still here {number}")
        live.server.kill()
    assert_given_up(live, client, task_id)


def assert_given_up(live: Live, client: Client, task_id: int) -> None:
    """Assert that the next server fails a task and ends its sandbox."""
    client = start_again(live, client, SWEEP_GRACE_SECONDS=0)
    row = client.wait_for(task_id)
    found = (row["status"], row["error_code"], row["error_stage"])
    assert found == ("failed", "interrupted", "agent")
    live.wait_until_none_alive()


def test_a_server_that_stops_while_it_reaches_a_sandbox_leaves_it_to_the_next(live: Live) -> None:
    client, task_id = start_and_kill(live)
    reached = live.hold("connect")
    start_again(live, client, SHUTDOWN_GRACE_SECONDS=0)
    reached()
    assert live.server.terminate() == 0
    assert live.cloud.stats()["sandboxes"]["alive"] == 1
    (live.folder / "go").touch()
    client = start_again(live, client)
    eventually(lambda: client.status(task_id)["status"] == "completed")
    live.wait_until_none_alive()
