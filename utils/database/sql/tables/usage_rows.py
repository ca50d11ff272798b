"""Writes records of usage, in SQL, within the transaction of the caller."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from utils.database.schema import usage_records
from utils.database.shared import AMOUNTS, usage_values
from utils.database.sql.prepared import Prepared
from utils.models.usage import UsageRecord


def _upsert(insert: Any) -> Any:
    statement = insert(usage_records)
    # The day stays: a run belongs to the day on which it began.
    amounts = {name: statement.excluded[name] for name in AMOUNTS}
    return statement.on_conflict_do_update(index_elements=["task_id", "run"], set_=amounts)


_UPSERTS = {
    "sqlite": Prepared(_upsert(sqlite.insert)),
    "postgresql": Prepared(_upsert(postgresql.insert)),
}


def store_usage(connection: Connection, record: UsageRecord) -> None:
    """Store a record in place of an earlier one of the same run."""
    _UPSERTS[connection.dialect.name].change(connection, usage_values(record))
