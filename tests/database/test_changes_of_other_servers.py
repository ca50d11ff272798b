"""Tests that a server hears of the changes that other servers on its database make."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from database import Database, open_database
from tests.fixtures.database import settings_for
from tests.support.database.postgres_server import PostgresServer
from tests.support.database.samples import USER, event, new_task, running_task
from tests.support.supabase.settings import supabase_settings
from utils.config.database_url import POOLED
from utils.config.settings import Settings
from utils.database.migrations import migrate
from utils.models.events import EventBatch

WAIT_SECONDS = 30.0

Peers = tuple[Database, Database]


@pytest.fixture(scope="module")
def postgresql(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    url = postgres_server.create("peers")
    migrate(settings_for(tmp_path_factory.mktemp("peers"), url))
    return url


@pytest.fixture(params=["postgresql", "behind a pooler", "supabase"])
def peers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Peers]:
    """Provide the gateways of two servers on one database."""

    def settings(name: str) -> Settings:
        (tmp_path / name).mkdir()
        if request.param == "supabase":
            stack = request.getfixturevalue("supabase_stack")
            return supabase_settings(stack, tmp_path / name)
        url = request.getfixturevalue("postgresql")
        mark = "&" if "?" in url else "?"
        pooled = f"{mark}{POOLED}=true" if request.param == "behind a pooler" else ""
        return settings_for(tmp_path / name, url + pooled)

    with ExitStack() as stack:
        one, other = (open_database(settings(name)) for name in ("one", "other"))
        stack.callback(one.close)
        stack.callback(other.close)
        one.ensure_user(USER)
        yield one, other


async def heard(database: Database, change: Callable[[], object], **listener: object) -> set[int]:
    """Return the tasks of which a listener hears after a change; the change is repeated."""
    with database.changes.subscribe(**listener) as subscription:  # type: ignore[arg-type]
        async with asyncio.timeout(WAIT_SECONDS):
            # A server begins to listen in the background.
            while True:
                await asyncio.to_thread(change)
                if task_ids := await subscription.wait(1.5):
                    return task_ids


def test_a_server_hears_of_the_events_and_rows_that_another_one_writes(peers: Peers) -> None:
    here, there = peers
    task = running_task(there)
    batch = EventBatch((event(1),))
    assert asyncio.run(
        heard(here, lambda: there.save_progress(task.id, batch), task_id=task.id)
    ) == {task.id}
    found = asyncio.run(heard(here, lambda: there.create_task(USER, new_task()), user_id=USER))
    assert found - {task.id}


def test_a_server_listens_again_after_its_connection_was_cut(
    postgresql: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        here, there = (open_database(settings_for(tmp_path, postgresql)) for _ in range(2))
        stack.callback(here.close)
        stack.callback(there.close)
        here.ensure_user(USER)
        task = running_task(there)
        batch = EventBatch((event(1),))

        def change() -> None:
            there.save_progress(task.id, batch)

        async def cut_and_hear() -> set[int]:
            await heard(here, change, task_id=task.id)
            cut = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE query LIKE 'LISTEN%' OR query LIKE 'SELECT pg_notify%'"
            )
            with psycopg.connect(postgresql, autocommit=True) as connection:
                assert connection.execute(cut).rowcount >= 2
            return await heard(here, change, task_id=task.id)

        assert asyncio.run(cut_and_hear()) == {task.id}
