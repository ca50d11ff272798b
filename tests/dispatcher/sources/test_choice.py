"""Tests that real servers agree on the task engine, and change to it without losing a task."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest

from tests.dispatcher.shared_rows import LONG, RESULTS
from tests.support.database.samples import USER
from tests.support.live_server import SHARED, ServerFactory, replace_in_prompts
from tests.support.supabase.settings import rows_in
from utils.config.settings import Settings
from utils.database.migrations import migrate

if TYPE_CHECKING:
    from tests.support.database.postgres_server import PostgresServer
    from tests.support.supabase.stack import SupabaseStack

pytestmark = pytest.mark.local_only("what servers share is the database")

QUICK = "script:\nwrite task.txt done"


@pytest.fixture
def database_url(postgres_server: PostgresServer) -> str:
    """Provide the address of a PostgreSQL as `./run.sh migrate` leaves it."""
    url = postgres_server.create(f"choice_{uuid4().hex}")
    migrate(Settings.model_validate({"database_url": url}))
    return url


def test_tasks_that_wait_or_ran_without_the_engine_are_taken_over_by_it_and_given_back(
    new_server: ServerFactory, database_url: str, small_repository: str
) -> None:
    settings = {**SHARED, "DATABASE_URL": database_url, "MAX_CONCURRENT_TASKS": 2}
    server = new_server(**settings)
    server.start(TASK_ENGINE="own")
    client = server.client(USER)
    tasks = [client.start(LONG, small_repository) for _ in range(4)]
    for task_id in tasks[:2]:
        client.wait_for_output(task_id, "begun")
    server.kill()
    replace_in_prompts(database_url, "300", "2")
    server.start(TASK_ENGINE="auto")
    assert "engine.used" in server.output.read_text()
    client = server.client(USER)
    client.wait_for(tasks[0])
    server.kill()
    server.start(TASK_ENGINE="own")
    client = server.client(USER)
    assert {client.wait_for(one)["status"] for one in tasks} == {"completed"}
    with psycopg.connect(database_url) as rows:
        assert Counter(rows.execute(RESULTS).fetchall()) == {("completed", 1): 4}


def test_servers_that_are_updated_in_turn_lose_no_task_and_change_to_the_engine_together(
    new_server: ServerFactory, database_url: str, small_repository: str
) -> None:
    settings = {
        **SHARED,
        "DATABASE_URL": database_url,
        "MAX_CONCURRENT_TASKS": 2,
        "SERVER_SILENCE_SECONDS": 3,
    }
    one, two = (new_server(**settings, SHUTDOWN_GRACE_SECONDS=0) for _ in range(2))
    tasks = []
    for server in (one, two):
        server.start(TASK_ENGINE="own")
        client = server.client(USER)
        started = [client.start(LONG, small_repository) for _ in range(3)]
        for task_id in started[:2]:
            client.wait_for_output(task_id, "begun")
        tasks += started
    # The other one still runs the tasks that it is sent.
    assert one.terminate() == 0
    one.start(TASK_ENGINE="auto")
    assert "Stop all servers once" in one.output.read_text()
    for server in (one, two):
        server.kill()
    replace_in_prompts(database_url, "300", "0")
    for server in (one, two):
        server.start(TASK_ENGINE="auto")
        assert "engine.used" in server.output.read_text()
    client = two.client(USER)
    assert {client.wait_for(task_id)["status"] for task_id in tasks} == {"completed"}
    with psycopg.connect(database_url) as rows:
        assert Counter(rows.execute(RESULTS).fetchall()) == {("completed", 1): 6}


def test_a_project_without_the_engine_runs_tasks_as_before_and_with_it_when_it_is_installed(
    new_server: ServerFactory, engine_stack: SupabaseStack, small_repository: str
) -> None:
    engine_stack.clear()
    project = {name.upper(): value for name, value in rows_in(engine_stack).items()}
    server = new_server(**{**project, **SHARED, "TRUST_USER_ID": "true", "TASK_ENGINE": "auto"})
    with psycopg.connect(engine_stack.superuser_url, autocommit=True) as rows:
        rows.execute("ALTER SCHEMA absurd RENAME TO hidden")
        try:
            server.start()
            assert "./run.sh supabase-sql --engine writes" in server.output.read_text()
            client = server.client(USER)
            assert client.wait_for(client.start(QUICK, small_repository))["status"] == "completed"
            left = client.start(LONG, small_repository)
            client.wait_for_output(left, "begun")
            server.kill()
        finally:
            rows.execute("ALTER SCHEMA hidden RENAME TO absurd")
    replace_in_prompts(engine_stack.superuser_url, "300", "0")
    server.start()
    assert "engine.used" in server.output.read_text()
    assert server.client(USER).wait_for(left)["status"] == "completed"
