"""Creates rows of two users in every table, so that new tables are tested automatically."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Boolean, Column, Connection, Engine, Enum, LargeBinary, Table, insert, text
from sqlalchemy import Integer as Whole
from sqlalchemy.types import JSON

from tests.support.supabase.stack import SupabaseStack
from utils.database.schema import metadata
from utils.database.types import UserId, UtcDateTime

TABLES = (*metadata.tables, "alembic_version")
SHARED = (
    "users",
    "projects",
    "task_groups",
    "tasks",
    "task_events",
    "sandboxes",
    "sandbox_operations",
    "task_repositories",
    "schedules",
)
HIDDEN = tuple(sorted(set(TABLES) - set(SHARED)))

# What users may set of their own rows.
OWN_PROFILE = {"full_name", "avatar_url", "github_username", "github_token", "preferences"}
OWN_PROJECT = {
    "name",
    "description",
    "repo_url",
    "repo_owner",
    "repo_name",
    "is_active",
    "settings",
}

Key = dict[str, str]
State = dict[str, list[str]]
EVERY_ROW = text(
    " UNION ALL ".join(f"SELECT '{table}', t::text FROM {table} t" for table in TABLES)
    + " ORDER BY 1, 2"
)


@dataclass(frozen=True)
class Person:
    """A user with one row in each table; `keys` are filters that select the rows."""

    id: str
    keys: dict[str, Key]


def add_person(engine: Engine, stack: SupabaseStack) -> Person:
    """Sign up a user and add a row of that user to each table."""
    person = Person(stack.add_auth_user(), {})
    person.keys["alembic_version"] = {"version_num": "not.is.null"}
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            person.keys[table.name] = _add_row(connection, table, person)
    return person


def _add_row(connection: Connection, table: Table, person: Person) -> Key:
    # The database created this row with the account.
    if table.name == "users":
        return {"id": f"eq.{person.id}"}
    columns = [
        column for column in table.columns if column.identity is None and not column.server_default
    ]
    values = {
        column.name: _value(column, person)
        for column in columns
        if column.foreign_keys or not column.nullable
    }
    statement = insert(table).values(values).returning(*table.primary_key)
    row = connection.execute(statement).one()
    return {name: f"eq.{value}" for name, value in row._mapping.items()}


def _value(column: Column[Any], person: Person) -> Any:
    for reference in column.foreign_keys:
        if not isinstance(column.type, UserId):
            return int(person.keys[reference.column.table.name]["id"].removeprefix("eq."))
    if isinstance(column.type, UtcDateTime):
        return datetime.now(UTC)
    if isinstance(column.type, Enum):
        return column.type.enums[0]
    samples = {Boolean: False, Whole: 1, JSON: {}, LargeBinary: b"secret"}
    for kind, sample in samples.items():
        if isinstance(column.type, kind):
            return sample
    return person.id


def state(engine: Engine) -> State:
    """Return every row of every table, as text."""
    rows: State = {table: [] for table in TABLES}
    with engine.connect() as connection:
        for table, row in connection.execute(EVERY_ROW):
            rows[table].append(row)
    return rows


def row_of(engine: Engine, person: Person, table: str) -> dict[str, Any]:
    """Return a user's row without generated columns."""
    computed = {"has_patch", "execution_summary"}
    query = text(f"SELECT to_jsonb(t) FROM {table} t WHERE t::text LIKE :id OR :any")
    anything = {"id": f"%{person.id}%", "any": table not in {"users", "projects", "tasks"}}
    with engine.connect() as connection:
        row: dict[str, Any] = connection.execute(query, anything).scalars().first() or {}
    return {name: value for name, value in row.items() if name not in computed}
