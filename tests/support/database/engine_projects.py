"""Databases with the task engine, whose clock the tests move."""

from __future__ import annotations

import copy
import threading
from datetime import datetime
from typing import Any

import psycopg

from database import Database
from tests.support.database.emptying import EMPTY
from tests.support.database.samples import USER, new_task
from utils.models.engine import EngineRun
from utils.models.tasks import Task

LEASE_SECONDS = 30

CLOCK = """
CREATE TABLE absurd.test_clock (ahead interval NOT NULL);
INSERT INTO absurd.test_clock VALUES ('0');
GRANT SELECT ON absurd.test_clock TO PUBLIC;
CREATE OR REPLACE FUNCTION absurd.current_time() RETURNS timestamptz
LANGUAGE sql AS 'SELECT clock_timestamp() + ahead FROM absurd.test_clock';
"""
CLEAR = """
DELETE FROM absurd.t_tasks;
DELETE FROM absurd.r_tasks;
UPDATE absurd.test_clock SET ahead = '0';
"""


class EngineProject:
    """A database with the engine. `rows` is a superuser's connection, `lock` guards it."""

    def __init__(self, database: Database, superuser_url: str) -> None:
        self.database = database
        self.rows = psycopg.connect(superuser_url, autocommit=True)
        self.rows.execute(CLOCK)
        self.lock = threading.Lock()

    def close(self) -> None:
        self.rows.close()

    def clear(self) -> None:
        """Remove all rows, and move the clock back."""
        self.rows.execute(EMPTY)
        self.rows.execute(CLEAR)

    def worker(self, name: str) -> Database:
        """Return the gateway of another process; with the id of a run, of whoever runs it."""
        gateway = copy.copy(self.database)
        gateway.server = name
        return gateway

    def add(self, count: int = 1, user_id: str = USER) -> list[int]:
        """Create tasks of a user; return their numbers."""
        new = [new_task(f"Task {number}") for number in range(count)]
        return [self.database.create_task(user_id, one).id for one in new]

    def start(self, run: EngineRun) -> Task:
        """Start the task of a run, as the worker does that has claimed it."""
        claimed = self.worker(run.id).claim_task(run.task.id, again=True)
        assert claimed is not None
        return claimed.task

    def pass_time(self, seconds: float) -> None:
        """Move the clock of the engine."""
        self.rows.execute(
            "UPDATE absurd.test_clock SET ahead = ahead + make_interval(secs => %s)", (seconds,)
        )

    def states(self, task_id: int) -> list[str]:
        """Return the states of the engine's tasks for a task, oldest first."""
        return self._column(
            "SELECT state FROM absurd.t_tasks WHERE (params ->> 'task_id')::bigint = %s"
            " ORDER BY task_id",
            task_id,
        )

    def admitted(self, user_id: str = USER) -> list[int]:
        """Return the tasks of a user that the engine has."""
        return self._column(
            "SELECT task_id FROM public.engine_tasks WHERE user_id = %s ORDER BY task_id", user_id
        )

    def make_old(self, task_id: int, moment: datetime) -> None:
        """Have a row look as if it had not changed since then."""
        self.rows.execute("UPDATE tasks SET updated_at = %s WHERE id = %s", (moment, task_id))

    def _column(self, query: str, *values: Any) -> list[Any]:
        return [row[0] for row in self.rows.execute(query.encode(), values).fetchall()]


def numbers(runs: list[EngineRun]) -> list[int]:
    """Return the numbers of the tasks of runs."""
    return [run.task.id for run in runs]
