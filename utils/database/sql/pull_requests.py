"""Verbs on what GitHub knows of a task, in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select, update

from utils.database.rows import POLLED_COLUMNS, now, task_from
from utils.database.schema import tasks, webhook_deliveries
from utils.database.sql.engine import SqlVerbs, reading, writing
from utils.database.sql.tasks import NO_TASK
from utils.database.sql.webhook_deliveries import remember_delivery
from utils.errors import Conflict, NotFound
from utils.models.tasks import Task


class PullRequestVerbs(SqlVerbs):
    """Pull requests of tasks, and the deliveries that tell about them."""

    @writing
    def set_pull_request(
        self, connection: Connection, user_id: str, task_id: int, fields: Mapping[str, Any]
    ) -> Task:
        """See `Database`."""
        own = (tasks.c.id == task_id) & (tasks.c.user_id == user_id)
        values = {**fields, "updated_at": now()}
        statement = update(tasks).where(own).values(values).returning(*POLLED_COLUMNS)
        row = connection.execute(statement).first()
        if row is None:
            raise NotFound(NO_TASK)
        return task_from(row)

    @reading
    def tasks_of_pull_request(self, connection: Connection, pr_url: str) -> list[Task]:
        """See `Database`."""
        theirs = select(*POLLED_COLUMNS).where(tasks.c.pr_url == pr_url).order_by(tasks.c.id)
        return [task_from(row) for row in connection.execute(theirs)]

    @reading
    def tasks_of_branch(self, connection: Connection, pr_branch: str, pr_number: int) -> list[Task]:
        """See `Database`."""
        these = (tasks.c.pr_branch == pr_branch) & (tasks.c.pr_number == pr_number)
        found = select(*POLLED_COLUMNS).where(these).order_by(tasks.c.id)
        return [task_from(row) for row in connection.execute(found)]

    @reading
    def has_delivery(self, connection: Connection, delivery_id: str) -> bool:
        """See `Database`."""
        this_one = select(webhook_deliveries.c.id).where(webhook_deliveries.c.id == delivery_id)
        return connection.execute(this_one).first() is not None

    def take_delivery(self, delivery_id: str) -> bool:
        """See `Database`."""
        try:
            self._add_delivery(delivery_id)
        except Conflict:
            return False
        return True

    @writing
    def _add_delivery(self, connection: Connection, delivery_id: str) -> None:
        remember_delivery(connection, delivery_id)
