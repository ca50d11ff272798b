"""Holds what tests of several servers on one database share, and says who gets their tasks."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from tests.support.live_server import Client, LiveServer
from tests.support.waiting import eventually

LONG = "script:\nprint begun\nsleep 300"

RESULTS = """
SELECT task.status, (
    SELECT count(*) FROM task_events event
    WHERE event.task_id = task.id AND kind = 'status' AND data ->> 'status' = 'completed'
) FROM tasks task
"""
"""Selects the status of each task, and how often it was completed."""


def uses_engine(shared_database: dict[str, str]) -> bool:
    """Tell whether the task engine of the database gives the servers their tasks."""
    return shared_database.get("TASK_ENGINE") == "absurd"


def taking_no_task(
    server: LiveServer, shared_database: dict[str, str]
) -> AbstractContextManager[None]:
    """Have a server take no task of the engine. Without it, one that sleeps counts as ended."""
    return server.asleep() if uses_engine(shared_database) else nullcontext()


def wait_until_known(client: Client, database: dict[str, str]) -> None:
    """Wait until a server knows of the other one: alone it would keep its tasks."""
    if uses_engine(database):
        eventually(lambda: client.get("/health/ready").body["workers"] == 2)
