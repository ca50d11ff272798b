"""A worker that alone cannot reach its PostgreSQL any more, for a while or for good."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from tests.dispatcher.shared_rows import LONG, RESULTS
from tests.support.database.postgres_server import PostgresServer
from tests.support.database.samples import USER
from tests.support.live_server import SHARED, ServerFactory, WorkerFactory, replace_in_prompts
from tests.support.waiting import eventually
from utils.config.settings import Settings
from utils.database.migrations import migrate

pytestmark = pytest.mark.local_only("what workers share is the database")

TASKS = 3


class Cable:
    """Connects one worker by a role of its own, which can be shut out of the database."""

    def __init__(self, server: PostgresServer) -> None:
        name = f"cut_off_{uuid4().hex}"
        self.database_url = server.create(name)
        migrate(Settings.model_validate({"database_url": self.database_url}), engine=True)
        self.rows = psycopg.connect(self.database_url, autocommit=True)
        self._role = sql.Identifier(name)
        self._name = name
        self._change("CREATE ROLE {} SUPERUSER LOGIN")
        self.url = server.url(name, name)

    def cut(self) -> None:
        """End the connections of the worker, and refuse new ones."""
        self._change("ALTER ROLE {} NOLOGIN")
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"
        self.rows.execute(ended, (self._name,))

    def mend(self) -> None:
        """Let the worker connect again."""
        self._change("ALTER ROLE {} LOGIN")

    def close(self) -> None:
        self._change("DROP ROLE {}")
        self.rows.close()

    def _change(self, statement: str) -> None:
        self.rows.execute(sql.SQL(statement).format(self._role))


@pytest.fixture
def cable(postgres_server: PostgresServer) -> Iterator[Cable]:
    made = Cable(postgres_server)
    yield made
    made.close()


@pytest.mark.parametrize("comes_back", [True, False], ids=["comes back", "stays away"])
def test_the_tasks_of_a_worker_that_is_cut_off_alone_are_completed_once_by_another(
    new_server: ServerFactory,
    new_worker: WorkerFactory,
    cable: Cable,
    small_repository: str,
    comes_back: bool,
) -> None:
    shared = {
        "DATABASE_URL": cable.database_url,
        "TASK_ENGINE": "absurd",
        "WORK": "false",
        **SHARED,
        "SERVER_SILENCE_SECONDS": "1.5",
    }
    server, other = new_server(**shared), new_worker(**shared)
    cut_off = new_worker(**shared | {"DATABASE_URL": cable.url})
    server.start()
    cut_off.start()
    client = server.client(USER)
    tasks = [client.start(LONG, small_repository) for _ in range(TASKS)]
    for task_id in tasks:
        client.wait_for_output(task_id, "begun")
    replace_in_prompts(cable.database_url, "300", "0")
    other.start()
    cable.cut()
    ended = [client.wait_for(task_id) for task_id in tasks]
    assert {row["status"] for row in ended} == {"completed"}
    assert {row["execution_metadata"]["attempt"] for row in ended} == {2}
    if comes_back:
        cable.mend()
        eventually(lambda: cut_off.output.read_text().count("lease.lost") == TASKS)
        eventually(lambda: cut_off.sandboxes() == [])
    else:
        assert "lease.failed" in cut_off.output.read_text()
        cut_off.kill()
    assert cable.rows.execute(RESULTS).fetchall() == [("completed", 1)] * TASKS
