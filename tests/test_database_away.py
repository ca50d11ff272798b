"""The database goes away and comes back while tasks run: none is lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from tests.database_samples import USER
from tests.live_server import LiveServer, ServerFactory, eventually
from tests.places import Place
from utils.migrate import migrate
from utils.settings import Settings

if TYPE_CHECKING:
    from tests.postgres_server import PostgresServer

pytest_plugins = ("tests.live_fixtures", "tests.database_fixtures")


def test_tasks_that_end_and_start_without_a_database_are_not_lost(
    postgres_server: PostgresServer, place: Place, new_server: ServerFactory, small_repository: str
) -> None:
    url = postgres_server.create("away_cloud" if place.cloud else "away_local")
    migrate(Settings.model_validate({"database_url": url}))
    server = new_server(DATABASE_URL=url, MAX_CONCURRENT_TASKS=10, MAX_TASKS_PER_USER=10)
    server.start()
    client = server.client(USER)
    prompts = [f"script:\nprint begun\nsleep 1\nwrite a.txt {number}" for number in range(20)]
    ids = [client.start(prompt, small_repository) for prompt in prompts]
    client.wait_for_output(ids[0], "begun")
    postgres_server.stop()
    try:
        eventually(lambda: server.sandbox_processes() == [])
        eventually(lambda: client.get("/health/ready").code == 503)
    finally:
        postgres_server.start()
    for number, task_id in enumerate(ids):
        assert client.wait_for(task_id)["status"] == "completed"
        assert f"+{number}" in client.task(task_id)["git_diff"]
        kinds = [event["kind"] for event in client.get(f"/tasks/{task_id}/events").body["events"]]
        assert kinds.count("result") == 1


def kept_results(server: LiveServer) -> int:
    return len(list((server.data_dir / "results").glob("*.json")))


def test_results_outlive_both_a_database_that_is_away_and_a_server_that_dies_meanwhile(
    postgres_server: PostgresServer, place: Place, new_server: ServerFactory, small_repository: str
) -> None:
    url = postgres_server.create("kept_cloud" if place.cloud else "kept_local")
    migrate(Settings.model_validate({"database_url": url}))
    server = new_server(DATABASE_URL=url)
    server.start()
    client = server.client(USER)
    prompts = [f"script:\nprint begun\nsleep 1\nwrite a.txt {number}" for number in range(4)]
    ids = [client.start(prompt, small_repository) for prompt in prompts]
    for task_id in ids:
        client.wait_for_output(task_id, "begun")
    postgres_server.stop()
    try:
        eventually(lambda: kept_results(server) == len(ids))
        # The results are safe: the sandboxes, which may cost money, do not wait for the database.
        eventually(lambda: server.sandboxes() == [])
        server.kill()
    finally:
        postgres_server.start()
    server.start()
    client = server.client(USER)
    for number, task_id in enumerate(ids):
        row = client.wait_for(task_id)
        assert (row["status"], row["execution_metadata"]["attempt"]) == ("completed", 1)
        assert f"+{number}" in client.task(task_id)["git_diff"]
        kinds = [event["kind"] for event in client.get(f"/tasks/{task_id}/events").body["events"]]
        assert kinds.count("result") == 1
    assert kept_results(server) == 0


def test_a_kept_result_that_cannot_be_read_keeps_no_server_from_starting(
    new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server()
    folder = server.data_dir / "results"
    folder.mkdir(parents=True)
    (folder / "7.json").write_text("{")
    (folder / "8.json").write_text('{"task_id": 8}')
    server.start()
    assert server.output.read_text().count("kept result unreadable") == 2
    client = server.client()
    assert client.wait_for(client.start("Quick", small_repository))["status"] == "completed"


def refuse_to_complete(server: LiveServer) -> None:
    with closing(sqlite3.connect(server.data_dir / "async-code.db")) as connection:
        connection.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON tasks WHEN NEW.status = 'completed' "
            "BEGIN SELECT RAISE(ABORT, 'refused by the test'); END"
        )


def test_a_result_that_cannot_be_stored_fails_the_task_and_stops_nothing_else(
    new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server()
    server.start()
    client = server.client()
    refuse_to_complete(server)
    row = client.wait_for(client.start("Quick", small_repository))
    assert (row["status"], row["error_code"]) == ("failed", "internal_error")
    assert "refused by the test" not in row["error"]
    failing = client.start("script:\nfail 3", small_repository)
    assert client.wait_for(failing)["error_code"] == "agent_failed"
