"""Adds, takes back and reads the turns of tasks, in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from utils.database.rows import (
    STATUS_COLUMNS,
    TASK_COLUMNS,
    TURN_COLUMNS,
    now,
    task_from_row,
    turn_from_row,
)
from utils.database.schema import task_secrets, task_turns, tasks
from utils.database.shared import (
    NEXT_TURN,
    NO_TURN,
    as_left_by,
    new_turn_values,
    turn_started,
    turn_values,
    without_message,
)
from utils.database.sql.engine import SqlMethods, reading, writing
from utils.database.sql.tables.progress import append_message, lock_task
from utils.database.sql.tables.tasks import require_task
from utils.database.verbs.turns import AddedTurn, Workspace
from utils.errors import NotFound
from utils.models.tasks import TERMINAL_STATUSES, Task, TaskStatus
from utils.models.turns import NewTurn, Turn, TurnResult, TurnStatus, first_turn

_of_task = task_turns.c.task_id == bindparam("turn_task_id")
_this_turn = _of_task & (task_turns.c.number == bindparam("turn_number"))
_turns = select(*TURN_COLUMNS).where(_of_task).order_by(task_turns.c.number)
_diff = select(task_turns.c.git_diff).where(_this_turn)
_task = select(*TASK_COLUMNS).where(tasks.c.id == bindparam("task_id"))
_workspaces = (
    select(tasks.c.id, tasks.c.container_id, tasks.c.workspace_until)
    .where(tasks.c.workspace_until.is_not(None), tasks.c.container_id.is_not(None))
    .order_by(tasks.c.workspace_until.desc())
)


class TurnMethods(SqlMethods):
    """Methods for turns and kept workspaces."""

    @writing
    def add_turn(
        self, connection: Connection, user_id: str, task_id: int, new: NewTurn
    ) -> AddedTurn:
        """See `Database`."""
        task = append_message(connection, user_id, task_id, "user", new.prompt)
        turns = _stored(connection, task_id)
        if not turns:
            first = _first(connection, task_id)
            turns = [first.turn]
            connection.execute(insert(task_turns), {**turn_values(first), "task_id": task_id})
        number = turns[-1].number + 1
        running = [turn.number for turn in turns if turn.status is TurnStatus.RUNNING]
        values = {
            **new_turn_values(new),
            "task_id": task_id,
            "number": number,
            "created_at": now(),
            "interrupts": running[0] if new.interrupts and running else None,
        }
        connection.execute(insert(task_turns), values)
        begins = task.status in TERMINAL_STATUSES
        if begins:
            begun = {**NEXT_TURN, "status": TaskStatus.PENDING, "server": self.server}
            task = _set(connection, task_id, begun)
        if new.encrypted_token is not None:
            _forget_secret(connection, task_id)
            secret = {"task_id": task_id, "ciphertext": new.encrypted_token}
            connection.execute(insert(task_secrets), secret)
        return AddedTurn(task, _stored(connection, task_id)[-1], begins)

    @writing
    def take_back_turn(
        self, connection: Connection, user_id: str, task_id: int, number: int
    ) -> Task:
        """See `Database`."""
        lock_task(connection, (tasks.c.id == task_id) & (tasks.c.user_id == user_id))
        require_task(connection, user_id, task_id)
        task = task_from_row(connection.execute(_task, {"task_id": task_id}).one())
        turns = {turn.number: turn for turn in _stored(connection, task_id)}
        turn = turns.pop(number, None)
        if turn is None and not (number == 1 and not turns):
            raise NotFound(NO_TURN)
        if turn is None or turn.status is not TurnStatus.WAITING or number == 1:
            raise turn_started()
        this_one = {"turn_task_id": task_id, "turn_number": number}
        connection.execute(delete(task_turns).where(_this_turn), this_one)
        changes = {"chat_messages": without_message(task.chat_messages, turn.prompt)}
        waits = any(other.status is TurnStatus.WAITING for other in turns.values())
        if task.status is TaskStatus.PENDING and not waits:
            changes |= as_left_by(turns[max(turns)])
            _forget_secret(connection, task_id)
        return _set(connection, task_id, changes)

    @reading
    def list_turns(self, connection: Connection, user_id: str, task_id: int) -> list[Turn]:
        """See `Database`."""
        require_task(connection, user_id, task_id)
        return _stored(connection, task_id) or [_first(connection, task_id).turn]

    @reading
    def get_turn_diff(self, connection: Connection, user_id: str, task_id: int, number: int) -> str:
        """See `Database`."""
        require_task(connection, user_id, task_id)
        this_one = {"turn_task_id": task_id, "turn_number": number}
        row = connection.execute(_diff, this_one).first()
        if row is None and number == 1 and not _stored(connection, task_id):
            return _first(connection, task_id).git_diff or ""
        if row is None:
            raise NotFound(NO_TURN)
        return row[0] or ""

    @writing
    def keep_workspace(
        self, connection: Connection, task_id: int, sandbox_id: str, until: datetime | None
    ) -> bool:
        """See `Database`."""
        this_one = (
            (tasks.c.id == task_id)
            & (tasks.c.container_id == sandbox_id)
            & (tasks.c.status != TaskStatus.RUNNING)
        )
        kept = update(tasks).where(this_one).values(workspace_until=until)
        return connection.execute(kept).rowcount == 1

    @reading
    def list_workspaces(self, connection: Connection) -> list[Workspace]:
        """See `Database`."""
        return [Workspace(*row) for row in connection.execute(_workspaces)]


def _stored(connection: Connection, task_id: int) -> list[Turn]:
    rows = connection.execute(_turns, {"turn_task_id": task_id})
    return [turn_from_row(row._mapping) for row in rows]


def _first(connection: Connection, task_id: int) -> TurnResult:
    return first_turn(task_from_row(connection.execute(_task, {"task_id": task_id}).one()))


def _set(connection: Connection, task_id: int, changes: Mapping[str, Any]) -> Task:
    values = {**changes, "updated_at": now()}
    statement = update(tasks).where(tasks.c.id == task_id).values(values)
    return task_from_row(connection.execute(statement.returning(*STATUS_COLUMNS)).one())


def _forget_secret(connection: Connection, task_id: int) -> None:
    connection.execute(delete(task_secrets).where(task_secrets.c.task_id == task_id))
