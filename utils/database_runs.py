"""Verbs for what survives a restart beside the task itself, in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from utils.database_engine import SqlVerbs, reading, writing
from utils.database_progress import insert_events, lock_task
from utils.database_schema import task_runs, tasks
from utils.models import AgentRun, Event, TaskStatus

_run = select(*(task_runs.c[name] for name in AgentRun.__dataclass_fields__)).where(
    task_runs.c.task_id == bindparam("task_id")
)


class RunVerbs(SqlVerbs):
    """Runs whose agent may have been started."""

    @writing
    def start_run(self, connection: Connection, run: AgentRun, events: Sequence[Event]) -> bool:
        """See `Database`."""
        running = (tasks.c.id == run.task_id) & (tasks.c.status == TaskStatus.RUNNING)
        if not lock_task(connection, running):
            return False
        connection.execute(delete(task_runs).where(task_runs.c.task_id == run.task_id))
        connection.execute(insert(task_runs), asdict(run))
        if events:
            insert_events(connection, run.task_id, events)
        return True

    @reading
    def get_run(self, connection: Connection, task_id: int) -> AgentRun | None:
        """See `Database`."""
        row = connection.execute(_run, {"task_id": task_id}).first()
        return AgentRun(**row._mapping) if row else None

    @writing
    def count_resume(self, connection: Connection, task_id: int) -> None:
        """See `Database`."""
        one_more = {"resumes": task_runs.c.resumes + 1}
        connection.execute(update(task_runs).where(task_runs.c.task_id == task_id).values(one_more))

    @reading
    def list_run_sandboxes(self, connection: Connection) -> list[str]:
        """See `Database`."""
        return list(connection.execute(select(task_runs.c.sandbox_id)).scalars())
