"""Stores schedules, in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from utils.database.automation_schema import schedules
from utils.database.rows import columns_of, now
from utils.database.schema import users
from utils.database.shared import NO_SCHEDULE, USER_GONE, WITHOUT_ERROR, too_many_schedules
from utils.database.sql.engine import SqlMethods, reading, writing
from utils.database.sql.tables.users import account_state
from utils.errors import NotFound, Unauthenticated
from utils.models.schedules import NewSchedule, Schedule

_stored = schedules.c
_COLUMNS = tuple(_stored[name] for name in Schedule.__dataclass_fields__ if name in _stored)


class ScheduleMethods(SqlMethods):
    """Methods on schedules."""

    @writing
    def add_schedule(
        self, connection: Connection, user_id: str, new: NewSchedule, most: int
    ) -> Schedule:
        """See `Database`."""
        own = users.c.id == user_id
        locked = select(users.c.id).with_for_update(key_share=True).where(own)
        if connection.execute(locked).first() is None:
            raise Unauthenticated(USER_GONE)
        count = select(func.count()).select_from(schedules).where(_stored.user_id == user_id)
        if connection.execute(count).scalar_one() >= most:
            raise too_many_schedules(most)
        moments = dict.fromkeys(("created_at", "updated_at"), now())
        values = {**columns_of(new), **moments, "user_id": user_id, "refusals": 0}
        row = connection.execute(insert(schedules).values(values).returning(*_COLUMNS)).one()
        return _schedule(row)

    @reading
    def list_schedules(self, connection: Connection, user_id: str) -> list[Schedule]:
        """See `Database`."""
        own = select(*_COLUMNS).where(_stored.user_id == user_id).order_by(_stored.id.desc())
        return [_schedule(row) for row in connection.execute(own)]

    @reading
    def get_schedule(self, connection: Connection, user_id: str, schedule_id: int) -> Schedule:
        """See `Database`."""
        this_one = select(*_COLUMNS).where(_own(user_id, schedule_id))
        row = connection.execute(this_one).first()
        if row is None:
            raise NotFound(NO_SCHEDULE)
        return _schedule(row)

    @writing
    def replace_schedule(
        self, connection: Connection, seen: Schedule, fields: Mapping[str, Any]
    ) -> Schedule | None:
        """See `Database`."""
        same = _own(seen.user_id, seen.id) & (_stored.updated_at == seen.updated_at)
        values = {**WITHOUT_ERROR, **fields, "updated_at": now()}
        changed = update(schedules).where(same).values(values).returning(*_COLUMNS)
        row = connection.execute(changed).first()
        return None if row is None else _schedule(row)

    @writing
    def delete_schedule(self, connection: Connection, user_id: str, schedule_id: int) -> None:
        """See `Database`."""
        this_one = delete(schedules).where(_own(user_id, schedule_id))
        if connection.execute(this_one).rowcount == 0:
            raise NotFound(NO_SCHEDULE)

    @writing
    def claim_schedule(self, connection: Connection, until: datetime) -> Schedule | None:
        """See `Database`."""
        moment = now()
        free = or_(
            _stored.claimed_until.is_(None),
            _stored.claimed_until <= moment,
            _stored.server == self.server,
        )
        first = (
            select(_stored.id)
            .where(_stored.is_enabled, _stored.next_run_at <= moment, free)
            .order_by(_stored.next_run_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        claim = update(schedules).where(_stored.id == first.scalar_subquery())
        values = {"server": self.server, "claimed_until": until}
        row = connection.execute(claim.values(values).returning(*_COLUMNS)).first()
        if row is None:
            return None
        blocked = {"banned", "deleted"}
        is_blocked = self.knows_accounts and account_state(connection, row.user_id) in blocked
        return _schedule(row, is_blocked=is_blocked)

    @writing
    def end_schedule_run(
        self, connection: Connection, schedule: Schedule, fields: Mapping[str, Any]
    ) -> bool:
        """See `Database`."""
        held = (
            (_stored.id == schedule.id)
            & (_stored.server == self.server)
            & (_stored.next_run_at == schedule.next_run_at)
            & (_stored.claimed_until == schedule.claimed_until)
        )
        values = {"claimed_until": None, **fields, "server": None}
        return connection.execute(update(schedules).where(held).values(values)).rowcount > 0


def _own(user_id: str, schedule_id: int) -> ColumnElement[bool]:
    return (_stored.id == schedule_id) & (_stored.user_id == user_id)


def _schedule(row: Row[Any], *, is_blocked: bool = False) -> Schedule:
    return Schedule(**row._mapping, is_blocked=is_blocked)
