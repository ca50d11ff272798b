"""Changes the status of tasks and appends messages and events, in SQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from utils.database.rows import (
    EVENT_COLUMNS,
    STATUS_COLUMNS,
    TASK_MARKS,
    chat_message,
    columns_of,
    now,
    task_from_row,
)
from utils.database.schema import (
    task_events,
    task_repositories,
    task_runs,
    task_secrets,
    task_turns,
    tasks,
)
from utils.database.shared import (
    MAX_CHAT_CHARACTERS,
    MAX_CHAT_MESSAGES,
    NEXT_TURN,
    conversation_full,
    events_of_move,
    turn_values,
)
from utils.database.sql.engine import SqlMethods, reading, writing
from utils.database.sql.tables.archive import missing_task
from utils.database.sql.tables.tasks import require_task
from utils.database.sql.tables.usage_rows import store_usage
from utils.database.types import Document, Number, json_appended, json_with_file_changes
from utils.models.events import NO_EVENTS, Event, EventBatch
from utils.models.tasks import TERMINAL_STATUSES, Json, Task, TaskMark, TaskStatus
from utils.models.turns import TurnResult, TurnStatus

# Locks a row, but not inserts of rows that refer to it. SQLite locks the whole file anyway.
_locked_task = select(tasks.c.id).with_for_update(key_share=True)
_last_sequence = select(func.coalesce(func.max(task_events.c.sequence), 0)).where(
    task_events.c.task_id == bindparam("task_id")
)
_events = (
    select(*EVENT_COLUMNS)
    .where(
        task_events.c.task_id == bindparam("task_id"),
        task_events.c.sequence > bindparam("after", type_=Number),
    )
    .order_by(task_events.c.sequence)
    .limit(bindparam("limit"))
)
_turns = task_turns.c.task_id == bindparam("turn_task_id")
_waiting_turn = (
    select(func.min(task_turns.c.number))
    .where(_turns, task_turns.c.status == TurnStatus.WAITING)
    .scalar_subquery()
)
_this_run = task_runs.c.task_id == bindparam("run_task_id")
_forget_run = delete(task_runs).where(_this_run)
_move_position = (
    update(task_runs).where(_this_run).values(position=bindparam("position"), resumes=0)
)


class ProgressMethods(SqlMethods):
    """Methods that change the status of tasks and append to them."""

    @writing
    def move_task(
        self,
        connection: Connection,
        /,
        task_id: int,
        from_statuses: Collection[TaskStatus],
        to: TaskStatus,
        **fields: Any,
    ) -> Task | None:
        """See `Database`."""
        task = move(connection, self.server, task_id, from_statuses, to, fields)
        if task:
            insert_events(connection, task_id, events_of_move(to, fields))
        return task

    @writing
    def finish_task(
        self,
        connection: Connection,
        task_id: int,
        to: TaskStatus,
        fields: Mapping[str, Any],
        chat_message: Json | None,
        file_changes: Sequence[Json] = (),
        batch: EventBatch = NO_EVENTS,
        turn: TurnResult | None = None,
    ) -> Task | None:
        """See `Database`."""
        if not lock_task(connection, runs_here(self.server, task_id)):
            return None
        values = dict(fields)
        if file_changes:
            values["execution_metadata"] = _with_file_changes(fields, list(file_changes))
        if chat_message is not None:
            stamped = {**chat_message, "timestamp": now().isoformat()}
            values["chat_messages"] = _appended(stamped)
        if turn:
            _store_turn(connection, task_id, turn)
            if turn.goes_on and _has_waiting_turn(connection, task_id):
                to, values = TaskStatus.PENDING, values | NEXT_TURN
        task = move(connection, self.server, task_id, {TaskStatus.RUNNING}, to, values)
        if task:
            insert_events(connection, task_id, batch)
            if turn and turn.usage:
                store_usage(connection, turn.usage)
        return task

    @writing
    def save_progress(
        self,
        connection: Connection,
        task_id: int,
        batch: EventBatch,
        *,
        position: Json | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> bool:
        """See `Database`."""
        this_one = runs_here(self.server, task_id)
        if fields:
            values = {**fields, "updated_at": now()}
            changed = connection.execute(update(tasks).where(this_one).values(values)).rowcount
            is_running = changed == 1
        else:
            is_running = lock_task(connection, this_one)
        if is_running:
            insert_events(connection, task_id, batch)
            if position is not None:
                moved = {"run_task_id": task_id, "position": position}
                connection.execute(_move_position, moved)
        return is_running

    @writing
    def append_chat_message(
        self, connection: Connection, user_id: str, task_id: int, role: str, content: str
    ) -> Task:
        """See `Database`."""
        return append_message(connection, user_id, task_id, role, content)

    @writing
    def append_events(
        self, connection: Connection, user_id: str, task_id: int, events: Sequence[Event]
    ) -> None:
        """See `Database`."""
        if not lock_task(connection, (tasks.c.id == task_id) & (tasks.c.user_id == user_id)):
            raise missing_task(connection, user_id, task_id)
        insert_events(connection, task_id, EventBatch(tuple(events)))

    @reading
    def list_events(
        self,
        connection: Connection,
        user_id: str,
        task_id: int,
        *,
        after: int = 0,
        limit: int = 500,
    ) -> list[Event]:
        """See `Database`."""
        require_task(connection, user_id, task_id)
        parameters = {"task_id": task_id, "after": after, "limit": limit}
        return [Event(**row._mapping) for row in connection.execute(_events, parameters)]

    @reading
    def list_task_marks(
        self,
        connection: Connection,
        task_ids: Sequence[int],
        user_ids: Sequence[str],
        since: datetime,
    ) -> list[TaskMark]:
        """See `Database`."""
        recent = tasks.c.user_id.in_(user_ids) & (tasks.c.updated_at >= since)
        wanted = TASK_MARKS.where(or_(tasks.c.id.in_(task_ids), recent))
        return [TaskMark(**row._mapping) for row in connection.execute(wanted)]


def runs_here(server: str, task_id: int) -> ColumnElement[bool]:
    """Return the condition that a task is running on a server."""
    return (
        (tasks.c.id == task_id)
        & (tasks.c.status == TaskStatus.RUNNING)
        & (tasks.c.server == server)
    )


def last_sequence(connection: Connection, task_id: int) -> int:
    """Return the sequence of the newest event of a task, or 0 without events."""
    last: int = connection.execute(_last_sequence, {"task_id": task_id}).scalar_one()
    return last


def insert_events(connection: Connection, task_id: int, batch: EventBatch) -> None:
    """Append events of a task. The caller holds the lock on the task's row."""
    if not batch.events:
        return
    last = last_sequence(connection, task_id)
    fresh = batch.events if batch.after is None else batch.events[max(last - batch.after, 0) :]
    rows = [
        {**columns_of(event), "task_id": task_id, "sequence": sequence}
        for sequence, event in enumerate(fresh, start=last + 1)
    ]
    if rows:
        connection.execute(insert(task_events), rows)


def append_message(
    connection: Connection, user_id: str, task_id: int, role: str, content: str
) -> Task:
    """Append a message as `Database.append_chat_message` describes; the row stays locked."""
    own = (tasks.c.id == task_id) & (tasks.c.user_id == user_id)
    if not lock_task(connection, own):
        raise missing_task(connection, user_id, task_id)
    # The time is read under the lock, so timestamps and messages have the same order.
    moment = now()
    values = {
        "chat_messages": _appended(chat_message(role, content, moment)),
        "updated_at": moment,
    }
    statement = update(tasks).where(own).values(values).returning(*STATUS_COLUMNS)
    task = task_from_row(connection.execute(statement).one())
    _check_conversation_limits(task.chat_messages)
    return task


def _check_conversation_limits(messages: Sequence[Json]) -> None:
    # Every response about a task includes its whole conversation.
    characters = sum(len(message["content"]) for message in messages)
    if len(messages) > MAX_CHAT_MESSAGES or characters > MAX_CHAT_CHARACTERS:
        raise conversation_full()


def lock_task(connection: Connection, this_one: ColumnElement[bool]) -> bool:
    """Lock a task's row for the transaction; return False when there is no such row."""
    return connection.execute(_locked_task.where(this_one)).first() is not None


def move(
    connection: Connection,
    server: str,
    task_id: int,
    from_statuses: Collection[TaskStatus],
    to: TaskStatus,
    fields: Mapping[str, Any],
) -> Task | None:
    """Change the status of a task as `Database.move_task` describes."""
    expected = (tasks.c.id == task_id) & tasks.c.status.in_(list(from_statuses))
    movable = or_(tasks.c.server == server, tasks.c.status != TaskStatus.RUNNING)
    values = {**fields, **_values_of_move(to, now())}
    statement = update(tasks).where(expected, movable).values(values)
    row = connection.execute(statement.returning(*STATUS_COLUMNS)).first()
    if row is None:
        return None
    _move_turns(connection, task_id, to, fields)
    if to is not TaskStatus.RUNNING:
        connection.execute(_forget_run, {"run_task_id": task_id})
    if to in TERMINAL_STATUSES:
        connection.execute(delete(task_secrets).where(task_secrets.c.task_id == task_id))
    return task_from_row(row)


def _move_turns(
    connection: Connection, task_id: int, to: TaskStatus, fields: Mapping[str, Any]
) -> None:
    """Have the turns of a task, if it has any, follow a change of its status."""
    changes = update(task_turns).where(_turns)
    if to is TaskStatus.RUNNING:
        changes = changes.where(task_turns.c.number == _waiting_turn).values(
            status=TurnStatus.RUNNING, started_at=now()
        )
    elif to is TaskStatus.PENDING:
        changes = changes.where(task_turns.c.status == TurnStatus.RUNNING).values(
            status=TurnStatus.WAITING, started_at=None
        )
    else:
        is_running = task_turns.c.status == TurnStatus.RUNNING
        errors = ("error", "error_code", "error_stage")
        changes = changes.where(
            task_turns.c.status.in_((TurnStatus.WAITING, TurnStatus.RUNNING))
        ).values(
            status=case((is_running, TurnStatus(to)), else_=TurnStatus.CANCELLED),
            ended_at=now(),
            **{name: fields.get(name) for name in errors},
        )
    connection.execute(changes, {"turn_task_id": task_id})


def _store_turn(connection: Connection, task_id: int, result: TurnResult) -> None:
    this_one = (task_turns.c.task_id == task_id) & (task_turns.c.number == result.turn.number)
    connection.execute(delete(task_turns).where(this_one))
    values = {**turn_values(result), "task_id": task_id, "ended_at": now()}
    connection.execute(insert(task_turns), values)
    for changes in result.repositories:
        its = (task_repositories.c.task_id == task_id) & (
            task_repositories.c.position == changes["position"]
        )
        connection.execute(update(task_repositories).where(its).values(changes))


def _has_waiting_turn(connection: Connection, task_id: int) -> bool:
    found = connection.execute(select(_waiting_turn), {"turn_task_id": task_id})
    return found.scalar_one() is not None


def _values_of_move(to: TaskStatus, moment: datetime) -> dict[str, Any]:
    values: dict[str, Any] = {"status": to, "updated_at": moment}
    if to is TaskStatus.RUNNING:
        values |= {"attempt": tasks.c.attempt + 1, "started_at": moment, "stop_requested": False}
    elif to in TERMINAL_STATUSES:
        values |= {"completed_at": moment, "stage": None}
    return values


def _appended(message: Json) -> ColumnElement[Any]:
    return json_appended(tasks.c.chat_messages, bindparam(None, message, type_=Document))


def _with_file_changes(fields: Mapping[str, Any], changes: list[Json]) -> Any:
    if "execution_metadata" in fields:
        return {**(fields["execution_metadata"] or {}), "file_changes": changes}
    return json_with_file_changes(
        tasks.c.execution_metadata, bindparam(None, changes, type_=Document)
    )
