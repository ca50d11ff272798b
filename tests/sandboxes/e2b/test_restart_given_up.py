"""A task that is given up while it is taken over after a restart leaves no sandbox at work."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.e2b.live import Live, live_cloud
from tests.support.live_server import Client, eventually
from utils.dispatcher.recovery import MAX_CAPTURE_RESUMES, MAX_RESUMES

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


@pytest.mark.parametrize(
    ("stage", "resumes"), [("agent", MAX_RESUMES), ("capturing", MAX_CAPTURE_RESUMES)]
)
def test_a_task_that_every_server_dies_under_is_given_up_in_the_end(
    live: Live, stage: str, resumes: int
) -> None:
    client, task_id = start_and_kill(live)
    reached = live.hold("connect")
    start_again(live, client)
    reached()
    live.server.kill()
    with closing(sqlite3.connect(live.server.data_dir / "async-code.db")) as connection:
        change = (
            "UPDATE task_runs SET resumes = resumes + ?, "
            "position = json_set(position, '$.stage', ?) RETURNING resumes"
        )
        assert connection.execute(change, [resumes - 1, stage]).fetchall() == [(resumes,)]
        connection.commit()
    client = start_again(live, client, SWEEP_GRACE_SECONDS=0)
    row = client.wait_for(task_id)
    assert (row["status"], row["error_code"], row["error_stage"]) == (
        "failed",
        "interrupted",
        "agent",
    )
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
