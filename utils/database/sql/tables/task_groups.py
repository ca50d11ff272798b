"""Stores groups of tasks, in SQL."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, func, insert, select, update

from utils.database.rows import POLLED_COLUMNS, TASK_COUNTERS, now, polled_task
from utils.database.schema import task_groups, tasks
from utils.database.shared import NO_GROUP, NOT_IN_GROUP, new_group_values, request_answer
from utils.database.sql.engine import SqlMethods, reading, writing
from utils.database.sql.tables.projects import lock_project
from utils.database.sql.tables.repeated_requests import store_answer
from utils.database.sql.tables.tasks import insert_task
from utils.errors import NotFound
from utils.models.task_groups import TaskGroup, TaskGroupSummary
from utils.models.tasks import PROMPT_PREVIEW_CHARACTERS, NewTask, Task

_GROUP_COLUMNS = tuple(
    task_groups.c[name] for name in TaskGroup.__dataclass_fields__ if name in task_groups.c
)
_summaries = (
    select(
        *(
            task_groups.c[name]
            for name in TaskGroupSummary.__dataclass_fields__
            if name in task_groups.c
        ),
        func.substr(task_groups.c.prompt, 1, PROMPT_PREVIEW_CHARACTERS).label("prompt_preview"),
        func.length(task_groups.c.prompt).label("prompt_characters"),
        *TASK_COUNTERS,
    )
    .outerjoin_from(task_groups, tasks, tasks.c.group_id == task_groups.c.id)
    .group_by(task_groups.c.id)
    .order_by(task_groups.c.id.desc())
)


class TaskGroupMethods(SqlMethods):
    """Methods on groups of tasks."""

    @writing
    def create_task_group(
        self, connection: Connection, user_id: str, new: Sequence[NewTask]
    ) -> list[Task]:
        """See `Database`."""
        first = new[0]
        if first.project_id is not None:
            lock_project(connection, user_id, first.project_id)
        values = {**new_group_values(first), "user_id": user_id, "created_at": now()}
        group = connection.execute(insert(task_groups).values(values).returning(task_groups.c.id))
        group_id = group.scalar_one()
        more = {"server": self.server, "group_id": group_id}
        added = [insert_task(connection, user_id, task, more) for task in new]
        if first.request_key is not None:
            store_answer(connection, user_id, first.request_key, request_answer(added))
        return added

    @reading
    def get_task_group(self, connection: Connection, user_id: str, group_id: int) -> TaskGroup:
        """See `Database`."""
        own = (task_groups.c.id == group_id) & (task_groups.c.user_id == user_id)
        row = connection.execute(select(*_GROUP_COLUMNS).where(own)).first()
        if row is None:
            raise NotFound(NO_GROUP)
        its = (tasks.c.group_id == group_id) & (tasks.c.user_id == user_id)
        found = connection.execute(select(*POLLED_COLUMNS).where(its).order_by(tasks.c.id))
        return TaskGroup(**row._mapping, tasks=tuple(polled_task(one._mapping) for one in found))

    @reading
    def list_task_groups(
        self, connection: Connection, user_id: str, *, limit: int = 100, cursor: int | None = None
    ) -> list[TaskGroupSummary]:
        """See `Database`."""
        page = _summaries.where(task_groups.c.user_id == user_id).limit(limit)
        if cursor is not None:
            page = page.where(task_groups.c.id < cursor)
        return [TaskGroupSummary(**row._mapping) for row in connection.execute(page)]

    @writing
    def choose_task(
        self, connection: Connection, user_id: str, group_id: int, task_id: int
    ) -> None:
        """See `Database`."""
        own = (task_groups.c.id == group_id) & (task_groups.c.user_id == user_id)
        if connection.execute(select(task_groups.c.id).where(own)).first() is None:
            raise NotFound(NO_GROUP)
        its = select(tasks.c.id).where(tasks.c.id == task_id, tasks.c.group_id == group_id)
        chosen = update(task_groups).where(own, its.exists()).values(chosen_task_id=task_id)
        if connection.execute(chosen).rowcount == 0:
            raise NotFound(NOT_IN_GROUP)
