"""Reads the rows of all users for administrators, in SQL."""

from __future__ import annotations

from sqlalchemy import Connection, Table, select

from utils.database.sandbox_schema import sandboxes
from utils.database.schema import tasks
from utils.database.shared import NO_SANDBOX, NO_TASK
from utils.database.sql.engine import SqlMethods, reading
from utils.database.sql.sandboxes import SANDBOX_COLUMNS, decode_sandbox
from utils.errors import NotFound
from utils.models.sandboxes import LIVE_SANDBOXES, StoredSandbox
from utils.models.tasks import ACTIVE_STATUSES, ActiveTask, QueuedTask, TaskStatus

_active = (
    select(*(tasks.c[name] for name in ActiveTask.__dataclass_fields__))
    .where(tasks.c.status.in_(sorted(ACTIVE_STATUSES)))
    .order_by(tasks.c.id.desc())
)
_live = (
    select(*SANDBOX_COLUMNS)
    .where(sandboxes.c.status.in_(sorted(LIVE_SANDBOXES)))
    .order_by(sandboxes.c.id.desc())
)

_waiting = (
    select(*(tasks.c[name] for name in QueuedTask.__dataclass_fields__))
    .where(tasks.c.status == TaskStatus.PENDING)
    .order_by(tasks.c.id)
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
    def list_waiting_tasks(
        self, connection: Connection, *, after: int = 0, limit: int = 500
    ) -> list[QueuedTask]:
        """See `Database`."""
        page = _waiting.where(tasks.c.id > after).limit(limit)
        return [QueuedTask(**row._mapping) for row in connection.execute(page)]

    @reading
    def get_task_owner(self, connection: Connection, task_id: int) -> str:
        """See `Database`."""
        return _owner(connection, tasks, task_id, NO_TASK)

    @reading
    def list_live_sandbox_page(
        self, connection: Connection, *, limit: int, cursor: int | None = None
    ) -> list[StoredSandbox]:
        """See `Database`."""
        page = _live.limit(limit)
        if cursor is not None:
            page = page.where(sandboxes.c.id < cursor)
        return [decode_sandbox(row) for row in connection.execute(page)]

    @reading
    def get_sandbox_owner(self, connection: Connection, sandbox_id: int) -> str:
        """See `Database`."""
        return _owner(connection, sandboxes, sandbox_id, NO_SANDBOX)


def _owner(connection: Connection, table: Table, row_id: int, missing: str) -> str:
    owner: str | None = connection.execute(
        select(table.c.user_id).where(table.c.id == row_id)
    ).scalar()
    if owner is None:
        raise NotFound(missing)
    return owner
