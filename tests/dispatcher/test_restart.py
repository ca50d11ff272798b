"""Tests that a server killed at any moment loses no task and completes none twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.support.git.repositories import make_repository, serve_repository
from tests.support.live_server import (
    Client,
    Json,
    LiveServer,
    ServerFactory,
    is_alive,
    shorten_sleeps,
)
from tests.support.waiting import PATIENCE_SECONDS, eventually

pytestmark = [
    pytest.mark.local_only("agents in the cloud work on, see test_e2b_restart"),
    pytest.mark.isolated_with_all("the end of the server ends what is in its namespaces"),
]

LARGE_BYTES = 40_000_000
NAPS = "script:\nprint begun\nbackground 300\nsleep {seconds}\nwrite task-{number}.txt {number}"


def results(client: Client, task_ids: list[int]) -> list[Json]:
    """Wait for the end of tasks and return their rows."""
    return [client.wait_for(task_id) for task_id in task_ids]


def attempts(rows: list[Json]) -> list[int]:
    return [row["execution_metadata"]["attempt"] for row in rows]


def assert_completed_once(client: Client, task_ids: list[int]) -> None:
    for row in results(client, task_ids):
        assert row["status"] == "completed", row
        roles = [message["role"] for message in row["chat_messages"]]
        assert roles == ["user", "assistant"]


def test_all_tasks_that_ran_when_the_server_died_run_again(
    new_server: ServerFactory, small_repository: str, runs_all: bool
) -> None:
    count = 20 if runs_all else 6
    server = new_server(MAX_CONCURRENT_TASKS=count, MAX_TASKS_PER_USER=count)
    server.start()
    client = server.client()
    prompts = [NAPS.format(seconds=300, number=number) for number in range(count)]
    ids = [client.start(prompt, small_repository) for prompt in prompts]
    eventually(lambda: [client.status(one)["status"] for one in ids].count("running") == count)
    client.wait_for_output(ids[0], "begun")
    left = server.sandbox_processes()
    server.kill()
    assert left != []
    shorten_sleeps(server, 300)
    server.start()
    assert not any(map(is_alive, left))
    client = server.client(client.user_id)
    assert_completed_once(client, ids)
    assert attempts(results(client, ids)) == [2] * count
    for number, task_id in enumerate(ids):
        assert client.task(task_id)["changed_files"] == [f"task-{number}.txt"]
    eventually(lambda: server.sandboxes() == [] and server.sandbox_processes() == [])


def test_tasks_that_waited_run_in_their_order_after_the_server_died(
    new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server(MAX_CONCURRENT_TASKS=1)
    server.start()
    client = server.client()
    ids = [client.start("script:\nsleep 300", small_repository) for _ in range(6)]
    client.wait_for(ids[0], "agent")
    server.kill()
    shorten_sleeps(server, 300)
    server.start()
    client = server.client(client.user_id)
    rows = results(client, ids)
    assert attempts(rows) == [2, 1, 1, 1, 1, 1]
    assert sorted(rows, key=lambda row: str(row["started_at"])) == rows
    assert_completed_once(client, ids)


def test_a_clone_that_the_server_died_under_is_made_again(
    new_server: ServerFactory, small_repository: str, tmp_path: Path
) -> None:
    server = new_server()
    server.start()
    client = server.client()
    with serve_repository(Path(small_repository), tmp_path / "served") as git_server:
        ids = [client.start(f"Task {number}", git_server.url) for number in range(3)]
        for _ in ids:
            assert git_server.waiting.acquire(timeout=PATIENCE_SECONDS)
        server.kill()
        git_server.gate.set()
        server.start()
        client = server.client(client.user_id)
        assert_completed_once(client, ids)
    assert attempts(results(client, ids)) == [2, 2, 2]


def test_changes_that_the_server_died_over_are_made_and_read_again(
    new_server: ServerFactory, tmp_path: Path
) -> None:
    repository = make_repository(tmp_path / "large", large_bytes=LARGE_BYTES)
    server = new_server()
    server.start()
    client = server.client()
    task_id = client.start("script:\ndelete large.bin\nwrite a.txt a", str(repository))
    client.wait_for(task_id, "capturing")
    server.kill()
    server.start()
    client = server.client(client.user_id)
    assert_completed_once(client, [task_id])
    task = client.task(task_id)
    # A patch would hold all of the large file, so the file is kept, and a note says so.
    assert task["changed_files"] == ["a.txt"]
    assert "large.bin" in task["execution_metadata"]["notes"][0]


@contextmanager
def locked_database(server: LiveServer) -> Iterator[None]:
    """Lock the database against writes, as an overloaded database does."""
    with closing(sqlite3.connect(server.data_dir / "async-code.db", 60)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.rollback()


def test_a_result_that_was_being_stored_is_made_again(
    new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server()
    server.start()
    client = server.client()
    task_id = client.start("script:\nprint begun\nsleep 4", small_repository)
    client.wait_for_output(task_id, "begun")
    with locked_database(server):
        eventually(lambda: client.status(task_id).get("stage") == "capturing")
        eventually(lambda: server.sandbox_processes() == [])
        server.kill()
    shorten_sleeps(server, 4)
    server.start()
    client = server.client(client.user_id)
    assert_completed_once(client, [task_id])
    assert attempts(results(client, [task_id])) == [2]


def test_a_task_that_the_server_died_under_three_times_is_given_up(
    new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server()
    server.start()
    user_id = (client := server.client()).user_id
    task_id = client.start("script:\nsleep 300", small_repository)
    for attempt in range(1, 4):
        client = server.client(user_id)
        row = eventually(partial(stored_in_stage, client, task_id, "agent"))
        assert row["attempt"] == attempt
        server.kill()
        server.start()
    client = server.client(user_id)
    task = client.task(task_id)
    assert (task["status"], task["error_code"]) == ("failed", "interrupted")
    assert client.events(task_id)[-1]["data"] == {"status": "failed", "error_code": "interrupted"}
    assert task["error_stage"] == "agent"
    assert "MAX_ATTEMPTS" in task["error"]


def stored_in_stage(client: Client, task_id: int, stage: str) -> Json | None:
    row = client.task(task_id)
    return row if row["stage"] == stage else None


def test_a_task_that_came_back_can_be_cancelled(
    new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server(MAX_CONCURRENT_TASKS=1)
    server.start()
    client = server.client()
    ids = [client.start("script:\nsleep 300", small_repository) for _ in range(3)]
    client.wait_for(ids[0], "agent")
    server.kill()
    server.start()
    client = server.client(client.user_id)
    assert {client.post(f"/tasks/{one}/cancel").code for one in ids} == {200}
    assert {client.status(one)["status"] for one in ids} == {"cancelled"}
    assert server.sandbox_processes() == []
