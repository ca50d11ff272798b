"""Tests that no task is lost when the database is unavailable for a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.database.samples import USER
from tests.support.live_server import Answer, Client, LiveServer, ServerFactory
from tests.support.places import Place
from tests.support.waiting import eventually
from utils.config.settings import Settings
from utils.database.migrations import migrate

if TYPE_CHECKING:
    from tests.support.database.postgres_server import StoppablePostgres


# What is usual runs always: on PostgreSQL the engine, on Supabase perhaps only our own tables.
pytestmark = [
    pytest.mark.with_all("it runs with the engine", away="own", place="local"),
    pytest.mark.with_all("it runs without the engine", away="absurd", place="e2b"),
]


class Switch(NamedTuple):
    """A database that can be stopped and started, and the variables to reach it."""

    variables: dict[str, str]
    off: Callable[[], None]
    on: Callable[[], None]


@pytest.fixture(params=["own", "absurd"])
def away(place: Place, request: pytest.FixtureRequest) -> Switch:
    """Provide Supabase's PostgREST where the place has a project, else a PostgreSQL."""
    variables = {"TASK_ENGINE": request.param}
    has_engine = request.param == "absurd"
    if project := place.project:
        # Servers of earlier tests would count as other servers.
        project.clear()
        if has_engine:
            project.migrate(engine=True)
        return Switch(variables, project.stop_rest, project.start_rest)
    server: StoppablePostgres = request.getfixturevalue("stoppable_postgres")
    url = server.create(f"{request.node.originalname[:50]}_{request.param}")
    migrate(Settings.model_validate({"database_url": url}), engine=has_engine)
    return Switch({"DATABASE_URL": url, **variables}, server.stop, server.start)


def test_tasks_that_end_and_start_without_it_are_not_lost(
    away: Switch, new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server(**away.variables)
    server.start()
    client = server.client(USER)
    prompts = [f"script:\nprint begun\nsleep 1\nwrite a.txt {number}" for number in range(8)]
    ids = [client.start(prompt, small_repository) for prompt in prompts]
    client.wait_for_output(ids[0], "begun")
    away.off()
    try:
        eventually(lambda: server.sandbox_processes() == [])
        refused = eventually(lambda: refusal(client, ids[0]))
    finally:
        away.on()
    assert refused.headers["Retry-After"]
    assert refused.body["code"] == "database_unavailable"
    for number, task_id in enumerate(ids):
        assert client.wait_for(task_id)["status"] == "completed"
        assert f"+{number}" in client.task(task_id)["git_diff"]
        kinds = [event["kind"] for event in client.get(f"/tasks/{task_id}/events").body["events"]]
        assert kinds.count("result") == 1


def refusal(client: Client, task_id: int) -> Answer | None:
    """Return the answer to a client that polls while the database is unavailable."""
    assert client.get("/health/ready").code in {200, 503}
    answer = client.get(f"/task-status/{task_id}")
    return answer if answer.code == 503 else None


def stored_results(server: LiveServer) -> int:
    return len(list((server.data_dir / "results").glob("*.json")))


def test_results_outlive_both_its_absence_and_a_server_that_dies_meanwhile(
    away: Switch, new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server(**away.variables)
    server.start()
    client = server.client(USER)
    prompts = [f"script:\nprint begun\nsleep 1\nwrite a.txt {number}" for number in range(4)]
    ids = [client.start(prompt, small_repository) for prompt in prompts]
    for task_id in ids:
        client.wait_for_output(task_id, "begun")
    away.off()
    try:
        # On a busy machine the first task may have ended before the database was stopped.
        eventually(lambda: stored_results(server))
        # The results are on disk: sandboxes may cost money and must not wait for the database.
        eventually(lambda: server.sandboxes() == [])
        server.kill()
    finally:
        away.on()
    server.start()
    client = server.client(USER)
    for number, task_id in enumerate(ids):
        row = client.wait_for(task_id)
        assert (row["status"], row["execution_metadata"]["attempt"]) == ("completed", 1)
        assert f"+{number}" in client.task(task_id)["git_diff"]
        kinds = [event["kind"] for event in client.get(f"/tasks/{task_id}/events").body["events"]]
        assert kinds.count("result") == 1
    assert stored_results(server) == 0


@pytest.mark.local_only("sandboxes that end with the server are here")
def test_a_server_that_is_stopped_meanwhile_ends_as_usual(
    away: Switch, new_server: ServerFactory
) -> None:
    server = new_server(**away.variables)
    server.start()
    away.off()
    try:
        assert server.terminate() == 0
    finally:
        away.on()
    assert "Traceback" not in server.output.read_text()


@pytest.mark.local_only("the folder is the same in every place")
def test_a_kept_result_that_cannot_be_read_keeps_no_server_from_starting(
    new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server()
    folder = server.data_dir / "results"
    folder.mkdir(parents=True)
    (folder / "7.json").write_text("{")
    (folder / "8.json").write_text('{"task_id": 8}')
    server.start()
    assert server.output.read_text().count("waiting result unreadable") == 2
    client = server.client()
    assert client.wait_for(client.start("Quick", small_repository))["status"] == "completed"


def refuse_to_complete(server: LiveServer) -> None:
    with closing(sqlite3.connect(server.data_dir / "async-code.db")) as connection:
        connection.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON tasks WHEN NEW.status = 'completed' "
            "BEGIN SELECT RAISE(ABORT, 'refused by the test'); END"
        )


@pytest.mark.local_only("the test makes SQLite refuse")
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
