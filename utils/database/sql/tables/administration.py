"""Reads the rows of all users for administrators, in SQL."""

from __future__ import annotations

from sqlalchemy import Connection, select

from utils.database.schema import tasks
from utils.database.shared import NO_TASK
from utils.database.sql.engine import SqlMethods, reading
from utils.errors import NotFound
from utils.models.tasks import ACTIVE_STATUSES, ActiveTask

_active = (
    select(*(tasks.c[name] for name in ActiveTask.__dataclass_fields__))
    .where(tasks.c.status.in_(sorted(ACTIVE_STATUSES)))
    .order_by(tasks.c.id.desc())
)


class AdministrationMethods(SqlMethods):
    """Methods for administrators."""

    @reading
    def list_active_tasks(
        self, connection: Connection, *, limit: int, cursor: int | None = None
    ) -> list[ActiveTask]:
        """See `Database`."""
        page = _active.limit(limit)
        if cursor is not None:
            page = page.where(tasks.c.id < cursor)
        return [ActiveTask(**row._mapping) for row in connection.execute(page)]

    @reading
    def get_task_owner(self, connection: Connection, task_id: int) -> str:
        """See `Database`."""
        this_one = select(tasks.c.user_id).where(tasks.c.id == task_id)
        owner: str | None = connection.execute(this_one).scalar()
        if owner is None:
            raise NotFound(NO_TASK)
        return owner
