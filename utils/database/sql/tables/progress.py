"""Changes the status of tasks and appends messages and events, in SQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    case,
    delete,
    false,
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
from utils.database.sql.prepared import Prepared, PreparedRows
from utils.database.sql.tables.archive import missing_task
from utils.database.sql.tables.tasks import require_task
from utils.database.sql.tables.usage_rows import store_usage
from utils.database.types import Document, Number, json_appended, json_with_file_changes
from utils.models.events import NO_EVENTS, Event, EventBatch
from utils.models.tasks import TERMINAL_STATUSES, Json, Task, TaskMark, TaskStatus
from utils.models.turns import TurnResult, TurnStatus

# Locks a row, but not inserts of rows that refer to it. SQLite locks the whole file anyway.
_locked_task = select(tasks.c.id).with_for_update(key_share=True)
_this_task = tasks.c.id == bindparam("this_task")
_runs_here = (
    _this_task,
    tasks.c.status == TaskStatus.RUNNING,
    tasks.c.server == bindparam("this_server"),
)
_lock_running = Prepared(_locked_task.where(*_runs_here))
_change_running = Prepared(update(tasks).where(*_runs_here))
_last_sequence = Prepared(
    select(func.coalesce(func.max(task_events.c.sequence), 0).label("last")).where(
        task_events.c.task_id == bindparam("task_id")
    )
)
_new_events = PreparedRows(task_events)
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
_forget_run = Prepared(delete(task_runs).where(_this_run))
_move_position = Prepared(
    update(task_runs).where(_this_run).values(position=bindparam("position"), resumes=0)
)
_forget_secret = Prepared(
    delete(task_secrets).where(task_secrets.c.task_id == bindparam("secret_task_id"))
)
_next_turn = Prepared(select(_waiting_turn.label("number")))
_forget_turn = Prepared(
    delete(task_turns).where(_turns, task_turns.c.number == bindparam("turn_number"))
)
_insert_turn = Prepared(insert(task_turns))
_is_running_turn = task_turns.c.status == TurnStatus.RUNNING
_begin_turn = Prepared(
    update(task_turns)
    .where(_turns, task_turns.c.number == _waiting_turn)
    .values(status=TurnStatus.RUNNING)
)
_repeat_turn = Prepared(
    update(task_turns)
    .where(_turns, _is_running_turn)
    .values(status=TurnStatus.WAITING, started_at=None)
)


_ADDED = frozenset({"message", "file_changes"})
"""Parameters of a move that it adds to a document of the row; they are no columns."""


@cache
def _end_turns(to: TurnStatus) -> Prepared:
    is_open = or_(_is_running_turn, task_turns.c.status == TurnStatus.WAITING)
    status = case((_is_running_turn, to), else_=TurnStatus.CANCELLED)
    return Prepared(update(task_turns).where(_turns, is_open).values(status=status))


@cache
def _move_task(
    from_statuses: frozenset[TaskStatus], to: TaskStatus, added: frozenset[str]
) -> Prepared:
    expected = or_(false(), *(tasks.c.status == status for status in sorted(from_statuses)))
    here = tasks.c.server == bindparam("this_server")
    movable = or_(here, tasks.c.status != TaskStatus.RUNNING)
    statement = update(tasks).where(_this_task, expected, movable).values(status=to)
    if to is TaskStatus.RUNNING:
        statement = statement.values(attempt=tasks.c.attempt + 1, stop_requested=False)
    if "message" in added:
        message = bindparam("message", type_=Document)
        statement = statement.values(chat_messages=json_appended(tasks.c.chat_messages, message))
    if "file_changes" in added:
        files = bindparam("file_changes", type_=Document)
        metadata = json_with_file_changes(tasks.c.execution_metadata, files)
        statement = statement.values(execution_metadata=metadata)
    return Prepared(statement.returning(*STATUS_COLUMNS))


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
        if not lock_running(connection, self.server, task_id):
            return None
        values = dict(fields)
        if file_changes and "execution_metadata" in fields:
            metadata = fields["execution_metadata"] or {}
            values["execution_metadata"] = {**metadata, "file_changes": list(file_changes)}
        elif file_changes:
            values["file_changes"] = list(file_changes)
        if chat_message is not None:
            values["message"] = {**chat_message, "timestamp": now().isoformat()}
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
        if fields:
            here = {"this_task": task_id, "this_server": self.server}
            values = {**fields, "updated_at": now(), **here}
            is_running = _change_running.change(connection, values) == 1
        else:
            is_running = lock_running(connection, self.server, task_id)
        if is_running:
            insert_events(connection, task_id, batch)
            if position is not None:
                moved = {"run_task_id": task_id, "position": position}
                _move_position.change(connection, moved)
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


def lock_running(connection: Connection, server: str, task_id: int) -> bool:
    """Lock the row of a task that runs on a server; return False when it does not."""
    here = {"this_task": task_id, "this_server": server}
    return _lock_running.first(connection, here) is not None


def last_sequence(connection: Connection, task_id: int) -> int:
    """Return the sequence of the newest event of a task, or 0 without events."""
    row = _last_sequence.first(connection, {"task_id": task_id})
    return row["last"] if row else 0


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
        _new_events.add(connection, rows)


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
    moment = now()
    values = {**fields, **_values_of_move(to, moment)}
    statement = _move_task(frozenset(from_statuses), to, _ADDED.intersection(fields))
    row = statement.first(connection, {**values, "this_task": task_id, "this_server": server})
    if row is None:
        return None
    _move_turns(connection, task_id, to, fields, moment)
    if to is not TaskStatus.RUNNING:
        _forget_run.change(connection, {"run_task_id": task_id})
    if to in TERMINAL_STATUSES:
        _forget_secret.change(connection, {"secret_task_id": task_id})
    return Task(**row)


def _move_turns(
    connection: Connection,
    task_id: int,
    to: TaskStatus,
    fields: Mapping[str, Any],
    moment: datetime,
) -> None:
    """Have the turns of a task, if it has any, follow a change of its status."""
    these = {"turn_task_id": task_id}
    if to is TaskStatus.RUNNING:
        _begin_turn.change(connection, {**these, "started_at": moment})
    elif to is TaskStatus.PENDING:
        _repeat_turn.change(connection, these)
    else:
        errors = {name: fields.get(name) for name in ("error", "error_code", "error_stage")}
        ended = {**these, **errors, "ended_at": moment}
        _end_turns(TurnStatus(to)).change(connection, ended)


def _store_turn(connection: Connection, task_id: int, result: TurnResult) -> None:
    this_one = {"turn_task_id": task_id, "turn_number": result.turn.number}
    _forget_turn.change(connection, this_one)
    values = {**turn_values(result), "task_id": task_id, "ended_at": now()}
    _insert_turn.change(connection, values)
    for changes in result.repositories:
        its = (task_repositories.c.task_id == task_id) & (
            task_repositories.c.position == changes["position"]
        )
        connection.execute(update(task_repositories).where(its).values(changes))


def _has_waiting_turn(connection: Connection, task_id: int) -> bool:
    row = _next_turn.first(connection, {"turn_task_id": task_id})
    return row is not None and row["number"] is not None


def _values_of_move(to: TaskStatus, moment: datetime) -> dict[str, Any]:
    values: dict[str, Any] = {"updated_at": moment}
    if to is TaskStatus.RUNNING:
        values["started_at"] = moment
    elif to in TERMINAL_STATUSES:
        values |= {"completed_at": moment, "stage": None}
    return values


def _appended(message: Json) -> ColumnElement[Any]:
    return json_appended(tasks.c.chat_messages, bindparam(None, message, type_=Document))
