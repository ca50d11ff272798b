"""Stores the pull requests of tasks, in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select, update

from utils.database.rows import STATUS_COLUMNS, now, task_from_row
from utils.database.schema import tasks
from utils.database.sql.engine import SqlMethods, reading, writing
from utils.database.sql.tables.archive import missing_task
from utils.models.tasks import Task


class PullRequestMethods(SqlMethods):
    """Methods on the pull requests of tasks."""

    @writing
    def set_pull_request(
        self, connection: Connection, user_id: str, task_id: int, fields: Mapping[str, Any]
    ) -> Task:
        """See `Database`."""
        own = (tasks.c.id == task_id) & (tasks.c.user_id == user_id)
        values = {**fields, "updated_at": now()}
        statement = update(tasks).where(own).values(values).returning(*STATUS_COLUMNS)
        row = connection.execute(statement).first()
        if row is None:
            raise missing_task(connection, user_id, task_id)
        return task_from_row(row)

    @reading
    def list_pull_request_tasks(self, connection: Connection, pr_url: str) -> list[Task]:
        """See `Database`."""
        statement = select(*STATUS_COLUMNS).where(tasks.c.pr_url == pr_url).order_by(tasks.c.id)
        return [task_from_row(row) for row in connection.execute(statement)]

    @reading
    def list_branch_tasks(
        self, connection: Connection, pr_branch: str, pr_number: int
    ) -> list[Task]:
        """See `Database`."""
        these = (tasks.c.pr_branch == pr_branch) & (tasks.c.pr_number == pr_number)
        found = select(*STATUS_COLUMNS).where(these).order_by(tasks.c.id)
        return [task_from_row(row) for row in connection.execute(found)]
