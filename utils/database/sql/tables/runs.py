"""Claims tasks and stores agent runs, which survive a restart, in SQL."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from utils.database.rows import (
    STATUS_COLUMNS,
    TURN_COLUMNS,
    columns_of,
    json_object,
    turn_from_row,
)
from utils.database.schema import projects, task_runs, task_secrets, task_turns, tasks, users
from utils.database.sql.engine import SqlMethods, reading, writing
from utils.database.sql.prepared import Prepared
from utils.database.sql.tables.progress import (
    insert_events,
    last_sequence,
    lock_running,
    move,
)
from utils.models.events import EventBatch
from utils.models.runs import AgentRun, ClaimedTask
from utils.models.tasks import Stage, Task, TaskStatus
from utils.models.turns import TurnStatus

_run = select(*(task_runs.c[name] for name in AgentRun.__dataclass_fields__)).where(
    task_runs.c.task_id == bindparam("task_id")
)

_running_turn = Prepared(
    select(*TURN_COLUMNS).where(
        task_turns.c.task_id == bindparam("turn_task_id"), task_turns.c.status == TurnStatus.RUNNING
    )
)
_interrupting = Prepared(
    select(task_turns.c.number).where(
        task_turns.c.task_id == bindparam("turn_task_id"),
        task_turns.c.interrupts == bindparam("running_number"),
    )
)
_here = Prepared(
    select(tasks.c.status)
    .where(tasks.c.id == bindparam("task_id"), tasks.c.server == bindparam("server"))
    .with_for_update(key_share=True)
)
_job = Prepared(
    select(
        *STATUS_COLUMNS,
        task_secrets.c.ciphertext,
        users.c.github_token.label("user_token"),
        users.c.preferences,
        projects.c.settings.label("project_settings"),
        projects.c.pushed_commit,
    )
    .select_from(tasks)
    .join(users)
    .outerjoin(task_secrets)
    .outerjoin(projects, projects.c.id == tasks.c.project_id)
    .where(tasks.c.id == bindparam("task_id"))
)


class RunMethods(SqlMethods):
    """Methods that claim tasks and store agent runs."""

    @writing
    def claim_task(
        self, connection: Connection, task_id: int, *, again: bool = False
    ) -> ClaimedTask | None:
        """See `Database`."""
        here = _here.first(connection, {"task_id": task_id, "server": self.server})
        if here is None:
            return None
        if here["status"] is TaskStatus.PENDING:
            stage = {"stage": Stage.CLONING}
            pending = {TaskStatus.PENDING}
            move(connection, self.server, task_id, pending, TaskStatus.RUNNING, stage)
        elif not (again and here["status"] is TaskStatus.RUNNING):
            return None
        return _claimed(connection, task_id)

    @writing
    def start_run(self, connection: Connection, run: AgentRun, batch: EventBatch) -> bool:
        """See `Database`."""
        if not lock_running(connection, self.server, run.task_id):
            return False
        connection.execute(delete(task_runs).where(task_runs.c.task_id == run.task_id))
        connection.execute(insert(task_runs), columns_of(run))
        insert_events(connection, run.task_id, batch)
        return True

    @reading
    def get_run(self, connection: Connection, task_id: int) -> AgentRun | None:
        """See `Database`."""
        row = connection.execute(_run, {"task_id": task_id}).first()
        return AgentRun(**row._mapping) if row else None

    @writing
    def record_resume(self, connection: Connection, task_id: int) -> None:
        """See `Database`."""
        one_more = {"resumes": task_runs.c.resumes + 1}
        connection.execute(update(task_runs).where(task_runs.c.task_id == task_id).values(one_more))

    @reading
    def list_run_sandboxes(self, connection: Connection) -> list[str]:
        """See `Database`."""
        return list(connection.execute(select(task_runs.c.sandbox_id)).scalars())


def _claimed(connection: Connection, task_id: int) -> ClaimedTask:
    columns = _job.first(connection, {"task_id": task_id})
    assert columns is not None  # noqa: S101 - its row was found before
    turn = _running_turn.first(connection, {"turn_task_id": task_id})
    this_turn = {"turn_task_id": task_id, "running_number": turn["number"] if turn else None}
    return ClaimedTask(
        ciphertext=columns.pop("ciphertext"),
        user_token=columns.pop("user_token"),
        last_sequence=last_sequence(connection, task_id),
        preferences=json_object(columns.pop("preferences")),
        project_settings=json_object(columns.pop("project_settings")),
        pushed_commit=columns.pop("pushed_commit"),
        task=Task(**columns),
        turn=turn_from_row(turn) if turn else None,
        is_interrupted=_interrupting.first(connection, this_turn) is not None,
    )
