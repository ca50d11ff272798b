"""Reads and deletes old tasks, and remembers which were archived, in SQL."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    bindparam,
    cast,
    delete,
    select,
)
from sqlalchemy.types import JSON

from utils.database.rows import TASK_MARKS
from utils.database.schema import archived_tasks, task_events, task_repositories, task_turns, tasks
from utils.database.shared import NO_TASK, NOT_IN_RECORDS, task_archived
from utils.database.sql.engine import SqlMethods, reading, writing
from utils.database.sql.prepared import add_rows
from utils.errors import NotFound
from utils.models.archive import ArchivedTask, ArchiveFile, TaskRecord
from utils.models.tasks import TERMINAL_STATUSES, TaskMark

AT_ONCE = 10
"""Tasks that one statement reads: few statements, and only so many large patches in memory."""

OF_TASK = "of_task"
"""Name of the column by which turns and events are assigned to their tasks."""

_has_ended = tasks.c.status.in_(TERMINAL_STATUSES)
_tombstone = select(*(archived_tasks.c[name] for name in ArchivedTask.__dataclass_fields__))
_own_tombstone = select(archived_tasks.c.archived_at).where(
    archived_tasks.c.user_id == bindparam("user_id"),
    archived_tasks.c.task_id == bindparam("task_id"),
)


def _as_text(table: Table) -> Select[Any]:
    """Select the columns of a record; documents as the text that is stored, read or not."""
    columns: Iterator[ColumnElement[Any]] = (
        cast(column, Text).label(column.name) if isinstance(column.type, JSON) else column
        for column in table.c
        if column.name not in NOT_IN_RECORDS
    )
    return select(*columns)


_tasks = _as_text(tasks)
_parts = {
    "turns": _as_text(task_turns).order_by(task_turns.c.task_id, task_turns.c.number),
    "repositories": _as_text(task_repositories).order_by(
        task_repositories.c.task_id, task_repositories.c.position
    ),
    "events": _as_text(task_events).order_by(task_events.c.task_id, task_events.c.sequence),
}
_task_keys = {
    "turns": task_turns.c.task_id,
    "repositories": task_repositories.c.task_id,
    "events": task_events.c.task_id,
}
_documents = {
    column.name
    for table in (tasks, task_turns, task_repositories, task_events)
    for column in table.c
    if isinstance(column.type, JSON)
}


class ArchiveMethods(SqlMethods):
    """Methods on old tasks of all users."""

    @reading
    def list_old_tasks(
        self, connection: Connection, unchanged_since: datetime, *, limit: int
    ) -> list[TaskMark]:
        """See `Database`."""
        old = TASK_MARKS.where(_has_ended, tasks.c.updated_at < unchanged_since)
        rows = connection.execute(old.order_by(tasks.c.updated_at, tasks.c.id).limit(limit))
        return [TaskMark(**row._mapping) for row in rows]

    @reading
    def get_task_records(
        self, connection: Connection, task_ids: Sequence[int], *, max_bytes: int
    ) -> list[TaskRecord]:
        """See `Database`."""
        records: list[TaskRecord] = []
        size = 0
        for first in range(0, len(task_ids), AT_ONCE):
            for record in _records(connection, task_ids[first : first + AT_ONCE]):
                records.append(record)
                size += len(record.text)
                if size > max_bytes:
                    return records
        return records

    @writing
    def delete_old_tasks(
        self,
        connection: Connection,
        marks: Sequence[TaskMark],
        archived: ArchiveFile | None = None,
    ) -> list[TaskMark]:
        """See `Database`."""
        # In the order of their numbers, and without waiting, so that servers never block each
        # other. The marks are compared under the lock.
        these = tasks.c.id.in_([mark.id for mark in marks])
        lock = select(tasks.c.id).where(these).order_by(tasks.c.id)
        locked = connection.execute(lock.with_for_update(skip_locked=True)).scalars().all()
        present = TASK_MARKS.where(tasks.c.id.in_(locked), _has_ended)
        unchanged = set(marks) & {TaskMark(**row._mapping) for row in connection.execute(present)}
        if not unchanged:
            return []
        connection.execute(delete(tasks).where(tasks.c.id.in_([mark.id for mark in unchanged])))
        if archived is not None:
            add_rows(
                connection,
                archived_tasks,
                [
                    {
                        "user_id": mark.user_id,
                        "task_id": mark.id,
                        "archived_at": archived.archived_at,
                        "file": archived.name,
                        "server": self.server,
                    }
                    for mark in unchanged
                ],
            )
        return [mark for mark in marks if mark in unchanged]

    @reading
    def find_archived_tasks(self, connection: Connection, task_id: int) -> list[ArchivedTask]:
        """See `Database`."""
        rows = connection.execute(_tombstone.where(archived_tasks.c.task_id == task_id))
        return [ArchivedTask(**row._mapping) for row in rows]


def missing_task(connection: Connection, user_id: str, task_id: int) -> NotFound:
    """Return the error for a task that the user does not have: any more, or at all."""
    owned = {"user_id": user_id, "task_id": task_id}
    moment = connection.execute(_own_tombstone, owned).scalar()
    return NotFound(NO_TASK) if moment is None else task_archived(moment)


def _records(connection: Connection, task_ids: Sequence[int]) -> Iterator[TaskRecord]:
    """Yield the records of tasks in the given order; each statement reads all of them."""
    found = connection.execute(_tasks.where(tasks.c.id.in_(task_ids)))
    rows = {row.id: _json(row) for row in found}
    parts: dict[tuple[str, int], list[str]] = defaultdict(list)
    for name, statement in _parts.items():
        key = _task_keys[name]
        these = statement.add_columns(key.label(OF_TASK)).where(key.in_(task_ids))
        for row in connection.execute(these):
            parts[name, row._mapping[OF_TASK]].append(_json(row))
    for task_id in task_ids:
        if task_id in rows:
            lists = (f'"{name}":[{",".join(parts[name, task_id])}]' for name in _parts)
            yield TaskRecord(task_id, f'{{"task":{rows[task_id]},{",".join(lists)}}}')


def _json(row: Any) -> str:
    """Return a row as a JSON object in one line; stored documents are not parsed."""
    fields = (
        f'"{name}":{_document(value) if name in _documents else _value(value)}'
        for name, value in row._mapping.items()
        if name != OF_TASK
    )
    return f"{{{','.join(fields)}}}"


def _value(value: Any) -> str:
    if isinstance(value, datetime):
        value = value.isoformat()
    return json.dumps(value, ensure_ascii=False)


def _document(text: str | None) -> str:
    # A line end in JSON is between its words only.
    return "null" if text is None else text.replace("\r", " ").replace("\n", " ")
