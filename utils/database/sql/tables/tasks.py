"""Creates, imports and reads tasks, in SQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, delete, func, insert, select

from utils.database.rows import (
    LISTED_COLUMNS,
    POLLED_COLUMNS,
    STATUS_COLUMNS,
    SUMMARY_COLUMNS,
    TASK_COLUMNS,
    chat_message,
    listed_task,
    now,
    polled_task,
)
from utils.database.schema import task_repositories, task_secrets, tasks, users
from utils.database.shared import (
    TASK_ACTIVE,
    USER_GONE,
    imported_values,
    new_repository_values,
    new_task_values,
    request_answer,
)
from utils.database.sql.engine import SqlMethods, reading, writing
from utils.database.sql.prepared import Prepared, add_rows
from utils.database.sql.tables.archive import missing_task
from utils.database.sql.tables.projects import lock_project, require_project
from utils.database.sql.tables.repeated_requests import insert_delivery, store_answer
from utils.errors import Conflict, Unauthenticated
from utils.models.tasks import (
    ALL_TASKS,
    TERMINAL_STATUSES,
    Json,
    NewTask,
    Task,
    TaskFilter,
    TaskPage,
    TaskStatus,
    TaskSummary,
)

_own = (tasks.c.id == bindparam("task_id"), tasks.c.user_id == bindparam("user_id"))
_full_task = Prepared(select(*TASK_COLUMNS).where(*_own))
_task_status = Prepared(select(*POLLED_COLUMNS).where(*_own))
_git_diff = Prepared(select(func.coalesce(tasks.c.git_diff, "").label("git_diff")).where(*_own))
_conversation = Prepared(select(tasks.c.chat_messages).where(*_own))
_task_id = Prepared(select(tasks.c.id).where(*_own))
_changed_at = Prepared(select(tasks.c.updated_at).where(*_own))
_has_ended = tasks.c.status.in_(TERMINAL_STATUSES)
_insert_secret = insert(task_secrets)
_insert_task = Prepared(insert(tasks).returning(*STATUS_COLUMNS))


class TaskMethods(SqlMethods):
    """Methods that create, import and read tasks."""

    @writing
    def create_task(self, connection: Connection, user_id: str, new: NewTask) -> Task:
        """See `Database`."""
        if new.project_id is not None:
            lock_project(connection, user_id, new.project_id)
        task = insert_task(connection, user_id, new, {"server": self.server})
        if new.delivery is not None:
            insert_delivery(connection, new.delivery)
        if new.request_key is not None:
            store_answer(connection, user_id, new.request_key, request_answer([task]))
        return task

    @reading
    def get_task(self, connection: Connection, user_id: str, task_id: int) -> Task:
        """See `Database`."""
        return Task(**_one(connection, _full_task, user_id, task_id))

    @reading
    def get_task_status(self, connection: Connection, user_id: str, task_id: int) -> Task:
        """See `Database`."""
        return polled_task(_one(connection, _task_status, user_id, task_id))

    @reading
    def get_task_updated_at(
        self, connection: Connection, user_id: str, task_id: int
    ) -> datetime | None:
        """See `Database`."""
        row = _changed_at.first(connection, {"user_id": user_id, "task_id": task_id})
        return None if row is None else row["updated_at"]

    @reading
    def get_conversation(self, connection: Connection, user_id: str, task_id: int) -> list[Json]:
        """See `Database`."""
        row = _one(connection, _conversation, user_id, task_id)
        return list(row["chat_messages"])

    @reading
    def get_git_diff(self, connection: Connection, user_id: str, task_id: int) -> str:
        """See `Database`."""
        return str(_one(connection, _git_diff, user_id, task_id)["git_diff"])

    @reading
    def list_tasks(
        self,
        connection: Connection,
        user_id: str,
        *,
        project_id: int | None = None,
        wanted: TaskFilter = ALL_TASKS,
        limit: int = 100,
        cursor: int | None = None,
    ) -> TaskPage:
        """See `Database`."""
        conditions = [tasks.c.user_id == user_id, *_conditions(wanted)]
        if project_id is not None:
            conditions.append(tasks.c.project_id == project_id)
        total = connection.execute(select(func.count()).select_from(tasks).where(*conditions))
        # One row more than the limit shows whether there is a next page.
        page = _page(select(*SUMMARY_COLUMNS).where(*conditions), limit + 1, cursor)
        rows = connection.execute(page).all()
        found = tuple(TaskSummary(**row._mapping) for row in rows[:limit])
        next_cursor = found[-1].id if len(rows) > limit else None
        return TaskPage(found, total.scalar_one(), next_cursor)

    @reading
    def list_project_tasks(
        self,
        connection: Connection,
        user_id: str,
        project_id: int,
        *,
        limit: int = 100,
        cursor: int | None = None,
    ) -> list[Task]:
        """See `Database`."""
        require_project(connection, user_id, project_id)
        statement = select(*LISTED_COLUMNS).where(tasks.c.project_id == project_id)
        rows = connection.execute(_page(statement, limit, cursor))
        return [listed_task(row._mapping) for row in rows]

    @writing
    def import_tasks(
        self, connection: Connection, user_id: str, rows: Sequence[Mapping[str, Any]]
    ) -> int:
        """See `Database`."""
        # The lock on the user's row serializes imports of one user.
        user = select(users.c.id).where(users.c.id == user_id).with_for_update()
        if connection.execute(user).first() is None:
            raise Unauthenticated(USER_GONE)
        for project_id in {row["project_id"] for row in rows if row.get("project_id")}:
            lock_project(connection, user_id, project_id)
        fresh = [imported_values(user_id, row) for row in _fresh(connection, user_id, rows)]
        if fresh:
            connection.execute(insert(tasks), fresh)
        return len(fresh)

    @writing
    def delete_task(self, connection: Connection, user_id: str, task_id: int) -> None:
        """See `Database`."""
        this_one = delete(tasks).where(
            tasks.c.id == task_id, tasks.c.user_id == user_id, _has_ended
        )
        if connection.execute(this_one).rowcount == 0:
            require_task(connection, user_id, task_id)
            raise Conflict(TASK_ACTIVE, "task_active")

    @reading
    def count_tasks(self, connection: Connection) -> dict[tuple[str, str], int]:
        """See `Database`."""
        groups = (tasks.c.status, tasks.c.agent)
        rows = connection.execute(select(*groups, func.count()).group_by(*groups))
        return {(status.value, agent): count for status, agent, count in rows}


def insert_task(
    connection: Connection, user_id: str, new: NewTask, more: Mapping[str, Any]
) -> Task:
    """Insert a task with its token, its further repositories and more columns."""
    row = _insert_task.first(connection, {**_new_task_values(user_id, new), **more})
    assert row is not None  # noqa: S101
    if new.encrypted_token is not None:
        secret = {"task_id": row["id"], "ciphertext": new.encrypted_token}
        connection.execute(_insert_secret, secret)
    if repositories := new_repository_values(new):
        rows = [{**values, "task_id": row["id"]} for values in repositories]
        add_rows(connection, task_repositories, rows)
    return Task(**row)


def require_task(connection: Connection, user_id: str, task_id: int) -> None:
    """Raise `NotFound` or `TaskArchived` unless the task is the user's."""
    _one(connection, _task_id, user_id, task_id)


def _one(connection: Connection, statement: Prepared, user_id: str, task_id: int) -> dict[str, Any]:
    row = statement.first(connection, {"user_id": user_id, "task_id": task_id})
    if row is None:
        raise missing_task(connection, user_id, task_id)
    return row


def _conditions(wanted: TaskFilter) -> Iterator[ColumnElement[bool]]:
    for name in ("status", "agent", "repo_url"):
        value = getattr(wanted, name)
        if value is not None:
            yield tasks.c[name] == value
    if wanted.text is not None:
        yield tasks.c.prompt_preview.icontains(wanted.text, autoescape=True)


def _page(statement: Select[Any], limit: int, cursor: int | None) -> Select[Any]:
    if cursor is not None:
        statement = statement.where(tasks.c.id < cursor)
    return statement.order_by(tasks.c.id.desc()).limit(limit)


def _new_task_values(user_id: str, new: NewTask) -> dict[str, Any]:
    moment = now()
    return {
        **new_task_values(new),
        "user_id": user_id,
        "status": TaskStatus.PENDING,
        "attempt": 0,
        "chat_messages": [chat_message("user", new.prompt, moment)],
        "created_at": moment,
        "updated_at": moment,
    }


def _fresh(
    connection: Connection, user_id: str, rows: Sequence[Mapping[str, Any]]
) -> Iterator[Mapping[str, Any]]:
    legacy_id: ColumnElement[str] = tasks.c.execution_summary["legacy_id"].as_string()
    stored = select(legacy_id).where(tasks.c.user_id == user_id, legacy_id.is_not(None))
    # Older exports hold ids as numbers or as texts; both are compared as texts.
    seen = {str(value) for value in connection.execute(stored).scalars()}
    for row in rows:
        number = str(row["execution_metadata"]["legacy_id"])
        if number not in seen:
            seen.add(number)
            yield row
