"""Stores API keys, in SQL."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from utils.database.rows import API_KEY_COLUMNS, columns_of, now
from utils.database.schema import api_keys, users
from utils.database.shared import KEY_USE_PERIOD, MAX_API_KEYS, NO_KEY, USER_GONE, too_many_keys
from utils.database.sql.engine import SqlMethods, reading, writing
from utils.database.sql.tables.users import account_state
from utils.errors import NotFound, Unauthenticated
from utils.models.users import ApiKey, NewApiKey, Scope


class ApiKeyMethods(SqlMethods):
    """Methods on API keys."""

    @writing
    def add_api_key(self, connection: Connection, user_id: str, new: NewApiKey) -> ApiKey:
        """See `Database`."""
        own = users.c.id == user_id
        locked = select(users.c.id).with_for_update(key_share=True).where(own)
        if connection.execute(locked).first() is None:
            raise Unauthenticated(USER_GONE)
        count = select(func.count()).select_from(api_keys).where(api_keys.c.user_id == user_id)
        if connection.execute(count).scalar_one() >= MAX_API_KEYS:
            raise too_many_keys()
        values = columns_of(new) | {
            "user_id": user_id,
            "scope": new.scope.value,
            "created_at": now(),
        }
        return _api_key(
            connection.execute(insert(api_keys).returning(*API_KEY_COLUMNS), values).one()
        )

    @reading
    def find_api_key(self, connection: Connection, prefix: str) -> ApiKey | None:
        """See `Database`."""
        this_one = select(*API_KEY_COLUMNS).where(api_keys.c.prefix == prefix)
        row = connection.execute(this_one).first()
        if row is None:
            return None
        blocks = {"banned", "deleted"}
        is_blocked = self.knows_accounts and account_state(connection, row.user_id) in blocks
        return _api_key(row, is_blocked=is_blocked)

    @reading
    def list_api_keys(self, connection: Connection, user_id: str) -> list[ApiKey]:
        """See `Database`."""
        own = select(*API_KEY_COLUMNS).where(api_keys.c.user_id == user_id)
        return [_api_key(row) for row in connection.execute(own.order_by(api_keys.c.id.desc()))]

    @writing
    def delete_api_key(self, connection: Connection, user_id: str, key_id: int) -> ApiKey:
        """See `Database`."""
        this_one = api_keys.c.id == key_id, api_keys.c.user_id == user_id
        statement = delete(api_keys).where(*this_one).returning(*API_KEY_COLUMNS)
        row = connection.execute(statement).first()
        if row is None:
            raise NotFound(NO_KEY)
        return _api_key(row)

    @writing
    def record_key_use(self, connection: Connection, key_id: int, moment: datetime) -> None:
        """See `Database`."""
        last = api_keys.c.last_used_at
        due = or_(last.is_(None), last <= moment - KEY_USE_PERIOD)
        statement = update(api_keys).where(api_keys.c.id == key_id, due)
        connection.execute(statement.values(last_used_at=moment))

    @reading
    def has_api_key(self, connection: Connection, moment: datetime) -> bool:
        """See `Database`."""
        end = api_keys.c.expires_at
        valid = select(api_keys.c.id).where(or_(end.is_(None), end > moment)).limit(1)
        return connection.execute(valid).first() is not None


def _api_key(row: Row[Any], *, is_blocked: bool = False) -> ApiKey:
    columns = dict(row._mapping)
    return ApiKey(**columns | {"scope": Scope(columns["scope"]), "is_blocked": is_blocked})
