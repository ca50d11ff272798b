"""Verbs on what GitHub knows of a task, in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from utils.database_engine import SqlVerbs, reading, writing
from utils.database_rows import POLLED_COLUMNS, now, task_from
from utils.database_schema import tasks, webhook_deliveries
from utils.database_tasks import NO_TASK
from utils.errors import Conflict, NotFound
from utils.models import Task

REMEMBERED_DELIVERIES = timedelta(days=30)
"""Longer than GitHub offers to send a delivery again."""


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

    def take_delivery(self, delivery_id: str) -> bool:
        """See `Database`."""
        try:
            self._add_delivery(delivery_id)
        except Conflict:
            return False
        return True

    @writing
    def _add_delivery(self, connection: Connection, delivery_id: str) -> None:
        moment = now()
        old = webhook_deliveries.c.received_at < moment - REMEMBERED_DELIVERIES
        connection.execute(delete(webhook_deliveries).where(old))
        connection.execute(insert(webhook_deliveries), {"id": delivery_id, "received_at": moment})
