"""Stores sandboxes and the log of their operations, in SQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from utils.database.rows import columns_of, now
from utils.database.sandbox_schema import sandbox_operations, sandboxes
from utils.database.schema import tasks, users
from utils.database.shared import NO_SANDBOX, USER_GONE, new_sandbox_values, too_many_sandboxes
from utils.database.sql.engine import SqlMethods, reading, writing
from utils.database.sql.prepared import Prepared
from utils.database.sql.tables.usage_rows import store_usage
from utils.errors import NotFound, Unauthenticated
from utils.models.sandboxes import (
    LIVE_SANDBOXES,
    NewSandbox,
    SandboxOperation,
    SandboxStatus,
    StoredOperation,
    StoredSandbox,
    TaskSandbox,
)
from utils.models.tasks import Json
from utils.models.usage import UsageRecord

SANDBOX_COLUMNS = tuple(sandboxes.c[name] for name in StoredSandbox.__dataclass_fields__)
"""The columns that `decode_sandbox` reads."""

_OPERATION_COLUMNS = tuple(
    sandbox_operations.c[name] for name in StoredOperation.__dataclass_fields__
)
_is_live = sandboxes.c.status.in_(LIVE_SANDBOXES)
_task_of_new = Prepared(
    select(tasks.c.user_id, tasks.c.project_id)
    .with_for_update(key_share=True)
    .where(tasks.c.id == bindparam("task_id"))
)
_known = Prepared(
    select(*SANDBOX_COLUMNS)
    .with_for_update()
    .where(
        sandboxes.c.provider == bindparam("provider"),
        sandboxes.c.provider_id == bindparam("provider_id"),
    )
)
_of_provider = (
    select(*SANDBOX_COLUMNS)
    .with_for_update()
    .where(
        sandboxes.c.provider == bindparam("provider"),
        sandboxes.c.provider_id.in_(bindparam("provider_ids", expanding=True)),
        sandboxes.c.status.in_(bindparam("statuses", expanding=True)),
    )
    .order_by(sandboxes.c.id)
)
_insert_sandbox = Prepared(insert(sandboxes))
_change_sandbox = Prepared(
    update(sandboxes).where(sandboxes.c.id == bindparam("this_sandbox")).returning(*SANDBOX_COLUMNS)
)


class SandboxMethods(SqlMethods):
    """Methods on sandboxes."""

    @writing
    def add_sandbox(
        self, connection: Connection, user_id: str, new: NewSandbox, most: int
    ) -> StoredSandbox:
        """See `Database`."""
        own = select(users.c.id).with_for_update(key_share=True).where(users.c.id == user_id)
        if connection.execute(own).first() is None:
            raise Unauthenticated(USER_GONE)
        count = select(func.count()).where(
            sandboxes.c.user_id == user_id, _is_live, sandboxes.c.task_id.is_(None)
        )
        if connection.execute(count).scalar_one() >= most:
            raise too_many_sandboxes(most)
        values = new_sandbox_values(new, now()) | {"user_id": user_id, "server": self.server}
        return decode_sandbox(
            connection.execute(insert(sandboxes).returning(*SANDBOX_COLUMNS), values).one()
        )

    @writing
    def record_task_sandbox(self, connection: Connection, new: TaskSandbox) -> bool:
        """See `Database`."""
        task = _task_of_new.first(connection, {"task_id": new.task_id})
        if task is None:
            return False
        known = {"provider": new.provider, "provider_id": new.provider_id}
        found = _known.first(connection, known)
        if found is not None:
            fields = {"expires_at": new.expires_at, "server": self.server, "error": None}
            _move(connection, _decoded(found), SandboxStatus.RUNNING, fields)
            return True
        moment = now()
        values = new_sandbox_values(
            NewSandbox(new.provider, new.expires_at, new.template, new.repositories), moment
        )
        values |= {
            **task,
            "task_id": new.task_id,
            "provider_id": new.provider_id,
            "server": self.server,
            "status": SandboxStatus.RUNNING,
            "running_since": moment,
        }
        _insert_sandbox.change(connection, values)
        return True

    @reading
    def get_sandbox(self, connection: Connection, user_id: str, sandbox_id: int) -> StoredSandbox:
        """See `Database`."""
        return _own(connection, user_id, sandbox_id)

    @reading
    def list_sandboxes(
        self,
        connection: Connection,
        user_id: str,
        *,
        status: SandboxStatus | None = None,
        limit: int = 100,
        cursor: int | None = None,
    ) -> list[StoredSandbox]:
        """See `Database`."""
        page = select(*SANDBOX_COLUMNS).where(sandboxes.c.user_id == user_id)
        if status is not None:
            page = page.where(sandboxes.c.status == status)
        if cursor is not None:
            page = page.where(sandboxes.c.id < cursor)
        found = connection.execute(page.order_by(sandboxes.c.id.desc()).limit(limit))
        return [decode_sandbox(row) for row in found]

    @reading
    def list_live_sandboxes(
        self, connection: Connection, due: datetime | None = None
    ) -> list[StoredSandbox]:
        """See `Database`."""
        live = select(*SANDBOX_COLUMNS).where(_is_live).order_by(sandboxes.c.id)
        if due is not None:
            live = live.where(sandboxes.c.task_id.is_(None), sandboxes.c.expires_at <= due)
        return [decode_sandbox(row) for row in connection.execute(live)]

    @reading
    def list_uncounted_sandboxes(self, connection: Connection, limit: int) -> list[StoredSandbox]:
        """See `Database`."""
        uncounted = select(*SANDBOX_COLUMNS).where(
            sandboxes.c.task_id.is_(None), ~sandboxes.c.is_counted
        )
        found = connection.execute(uncounted.order_by(sandboxes.c.id).limit(limit))
        return [decode_sandbox(row) for row in found]

    @writing
    def count_sandbox(
        self, connection: Connection, sandbox_id: int, record: UsageRecord, *, is_final: bool
    ) -> bool:
        """See `Database`."""
        counted = update(sandboxes).where(sandboxes.c.id == sandbox_id)
        if connection.execute(counted.values(is_counted=is_final)).rowcount == 0:
            return False
        store_usage(connection, record)
        return True

    @writing
    def move_sandbox(
        self,
        connection: Connection,
        sandbox_id: int,
        from_statuses: Collection[SandboxStatus],
        to: SandboxStatus,
        fields: Mapping[str, Any] = {},
    ) -> StoredSandbox | None:
        """See `Database`."""
        this_one = sandboxes.c.id == sandbox_id, sandboxes.c.status.in_(list(from_statuses))
        found = connection.execute(
            select(*SANDBOX_COLUMNS).with_for_update().where(*this_one)
        ).first()
        return None if found is None else _move(connection, decode_sandbox(found), to, fields)

    @writing
    def replace_sandbox_repositories(
        self,
        connection: Connection,
        sandbox_id: int,
        seen: Sequence[Json],
        repositories: Sequence[Json],
    ) -> bool:
        """See `Database`."""
        running = sandboxes.c.id == sandbox_id, sandboxes.c.status == SandboxStatus.RUNNING
        stored = select(sandboxes.c.repositories).with_for_update().where(*running)
        if connection.execute(stored).scalar() != list(seen):
            return False
        changed = {"repositories": list(repositories), "updated_at": now()}
        connection.execute(update(sandboxes).where(*running).values(changed))
        return True

    @writing
    def mark_sandboxes(
        self,
        connection: Connection,
        provider: str,
        provider_ids: Collection[str],
        to: SandboxStatus,
        error: str | None = None,
    ) -> list[int]:
        """See `Database`."""
        these = {"provider": provider, "provider_ids": list(provider_ids)}
        these["statuses"] = list(LIVE_SANDBOXES - {to})
        fields = {} if error is None else {"error": error}
        found = [decode_sandbox(row) for row in connection.execute(_of_provider, these)]
        for one in found:
            _move(connection, one, to, fields)
        return [one.id for one in found]

    @writing
    def record_sandbox_operation(self, connection: Connection, operation: SandboxOperation) -> bool:
        """See `Database`."""
        executed = int(operation.kind == "execute")
        used = (
            update(sandboxes)
            .where(sandboxes.c.id == operation.sandbox_id)
            .values(last_used_at=now(), commands=sandboxes.c.commands + executed)
        )
        if connection.execute(used).rowcount == 0:
            return False
        connection.execute(insert(sandbox_operations), columns_of(operation))
        return True

    @reading
    def list_sandbox_operations(
        self,
        connection: Connection,
        user_id: str,
        sandbox_id: int,
        *,
        limit: int = 100,
        cursor: int | None = None,
    ) -> list[StoredOperation]:
        """See `Database`."""
        _own(connection, user_id, sandbox_id)
        page = select(*_OPERATION_COLUMNS).where(sandbox_operations.c.sandbox_id == sandbox_id)
        if cursor is not None:
            page = page.where(sandbox_operations.c.id < cursor)
        found = connection.execute(page.order_by(sandbox_operations.c.id.desc()).limit(limit))
        return [StoredOperation(**row._mapping) for row in found]

    @writing
    def delete_old_sandboxes(self, connection: Connection, before: datetime, *, limit: int) -> int:
        """See `Database`."""
        old = (
            select(sandboxes.c.id)
            .where(sandboxes.c.ended_at < before, sandboxes.c.task_id.is_(None))
            .order_by(sandboxes.c.ended_at)
            .limit(limit)
        )
        return connection.execute(delete(sandboxes).where(sandboxes.c.id.in_(old))).rowcount


def _own(connection: Connection, user_id: str, sandbox_id: int) -> StoredSandbox:
    own = sandboxes.c.id == sandbox_id, sandboxes.c.user_id == user_id
    row = connection.execute(select(*SANDBOX_COLUMNS).where(*own)).first()
    if row is None:
        raise NotFound(NO_SANDBOX)
    return decode_sandbox(row)


def _move(
    connection: Connection, stored: StoredSandbox, to: SandboxStatus, fields: Mapping[str, Any]
) -> StoredSandbox:
    """Move a locked row to another status, with the times that follow from it."""
    moment = now()
    values: dict[str, Any] = {"status": to, "updated_at": moment}
    if stored.running_since is not None and to is not SandboxStatus.RUNNING:
        values |= {"running_ms": stored.running_ms_at(moment), "running_since": None}
    if stored.running_since is None and to is SandboxStatus.RUNNING:
        values["running_since"] = moment
    if to is not stored.status:
        values["paused_at"] = moment if to is SandboxStatus.PAUSED else None
        values["ended_at"] = None if to in LIVE_SANDBOXES else moment
    changed = _change_sandbox.first(connection, {**values, **fields, "this_sandbox": stored.id})
    assert changed is not None  # noqa: S101 - locked
    return _decoded(changed)


def decode_sandbox(row: Row[Any]) -> StoredSandbox:
    """Return the sandbox in a row of `SANDBOX_COLUMNS`."""
    return _decoded(row._mapping)


def _decoded(columns: Mapping[Any, Any]) -> StoredSandbox:
    return StoredSandbox(**{**columns, "status": SandboxStatus(columns["status"])})
