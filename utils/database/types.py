"""Column types and SQL functions that differ between SQLite and PostgreSQL."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import Any, cast
from uuid import UUID

from pydantic_core import from_json
from sqlalchemy import JSON, BigInteger, Dialect, Enum, Float, Integer, Text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.dialects.postgresql import UUID as POSTGRESQL_UUID
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import TypeDecorator, TypeEngine

from utils.errors import NotFound, RowUnreadable
from utils.models.tasks import TaskStatus

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
REPLACEMENT = "\ufffd"

TOO_LARGE_FOR_ROW = "This is too large, nested too deeply, or holds too large numbers to be stored."
DOCUMENT_UNREADABLE = (
    "A stored JSON document cannot be read: it is nested too deeply or holds too large numbers. "
    "Store it again."
)


def sanitize(value: Any) -> Any:
    """Replace values that no database stores: NUL, lone surrogates, NaN and infinities."""
    if isinstance(value, str):
        return UNSTORABLE.sub(REPLACEMENT, value)
    if isinstance(value, dict):
        return {sanitize(key): sanitize(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [sanitize(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value


def dump_json(value: Any) -> str:
    """Serialize to compact JSON, without values that cannot be stored."""
    try:
        text = _compact(value)
    except ValueError:
        return _compact(sanitize(value))
    # JSON writes NUL as an escape sequence, so the value is cleaned instead of the text.
    if "\\u0000" in text or UNSTORABLE.search(text):
        return _compact(sanitize(value))
    return text


def load_json(text: str | bytes) -> Any:
    """Parse JSON. Raises `RowUnreadable` for too long numbers and too deep nesting."""
    with suppress(ValueError):  # it takes a quarter of the time, and refuses halves of characters
        return from_json(text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise RowUnreadable(DOCUMENT_UNREADABLE) from None


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def to_utc(moment: datetime) -> datetime:
    """Convert a datetime to UTC. Raises `ValueError` for one without a time zone."""
    if moment.tzinfo is None:
        raise ValueError("a datetime needs a time zone")
    return moment.astimezone(UTC)


@lru_cache(maxsize=1_000)
def normalize_user_id(user_id: str) -> str:
    """Return a user id in canonical UUID form. Raises `NotFound` for anything but a UUID."""
    try:
        return str(UUID(user_id))
    except ValueError:
        raise NotFound("There is no such user.") from None


class UtcDateTime(TypeDecorator[datetime]):
    """Stores datetimes in UTC. In SQLite they are ISO 8601 texts that sort by time."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Use `timestamptz` in PostgreSQL and text in SQLite."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Convert to UTC. Raises `ValueError` for a datetime without a time zone."""
        if value is None:
            return None
        moment = to_utc(value)
        if dialect.name == "postgresql":
            return moment
        return moment.isoformat(timespec="microseconds")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Convert to UTC, whatever time zone the session has."""
        if value is None:
            return None
        if isinstance(value, str):
            return datetime.fromisoformat(value)
        return cast("datetime", value).astimezone(UTC)


class UserId(TypeDecorator[str]):
    """Stores a UUID in canonical form, so that every spelling of it finds the same user."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Use `uuid` in PostgreSQL and text in SQLite."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(POSTGRESQL_UUID(as_uuid=False))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Convert to canonical form. Raises `NotFound` for anything but a UUID."""
        return None if value is None else normalize_user_id(value)


class CleanText(TypeDecorator[str]):
    """Stores text that may come from an agent; characters that cannot be stored become U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Replace characters that cannot be stored."""
        return None if value is None else UNSTORABLE.sub(REPLACEMENT, value)


Document = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
Number = BigInteger().with_variant(Integer(), "sqlite")
Status = Enum(
    TaskStatus,
    name="task_status",
    values_callable=lambda statuses: [status.value for status in statuses],
    create_constraint=True,
)


class json_appended(GenericFunction[Any]):  # noqa: N801
    """Appends an item to a JSON array in the database: `json_appended(array, item)`."""

    type = Document
    inherit_cache = True


@compiles(json_appended, "sqlite")
def _append_in_sqlite(element: json_appended, compiler: SQLCompiler, **options: Any) -> str:
    array, item = (compiler.process(clause, **options) for clause in element.clauses)
    return f"json_insert({array}, '$[#]', json({item}))"


@compiles(json_appended, "postgresql")
def _append_in_postgresql(element: json_appended, compiler: SQLCompiler, **options: Any) -> str:
    array, item = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({array} || jsonb_build_array({item}))"


class json_size(GenericFunction[int]):  # noqa: N801
    """Returns about the size of a stored JSON value without sending it: `json_size(value)`."""

    type = Integer()
    inherit_cache = True


@compiles(json_size, "sqlite")
def _size_in_sqlite(element: json_size, compiler: SQLCompiler, **options: Any) -> str:
    return f"length({compiler.process(element.clauses, **options)})"


@compiles(json_size, "postgresql")
def _size_in_postgresql(element: json_size, compiler: SQLCompiler, **options: Any) -> str:
    value = compiler.process(element.clauses, **options)
    return f"octet_length({value}::text)"


class json_number(GenericFunction[float]):  # noqa: N801
    """Returns a number of a JSON object, NULL for anything else: `json_number(object, name)`.

    Rows of older backends may have any value in its place, also a number that no float holds.
    """

    type = Float()
    inherit_cache = True


@compiles(json_number, "sqlite")
def _number_in_sqlite(element: json_number, compiler: SQLCompiler, **options: Any) -> str:
    target, name = (compiler.process(clause, **options) for clause in element.clauses)
    place = f"{target}, '$.' || {name}"
    number = f"json_extract({place}) * 1.0"
    return (
        f"CASE WHEN json_type({place}) IN ('integer', 'real') AND abs({number}) < 1e300 "
        f"THEN {number} END"
    )


@compiles(json_number, "postgresql")
def _number_in_postgresql(element: json_number, compiler: SQLCompiler, **options: Any) -> str:
    target, name = (compiler.process(clause, **options) for clause in element.clauses)
    number = f"({target} ->> {name})::numeric"
    return (
        f"CASE WHEN jsonb_typeof({target} -> {name}) = 'number' THEN "
        f"CASE WHEN abs({number}) < 1e300 THEN round({number}, 9)::double precision END END"
    )


class json_with_file_changes(GenericFunction[Any]):  # noqa: N801
    """Sets `file_changes` of a JSON object, or of `{}`: `json_with_file_changes(object, list)`."""

    type = Document
    inherit_cache = True


@compiles(json_with_file_changes, "sqlite")
def _set_in_sqlite(element: json_with_file_changes, compiler: SQLCompiler, **options: Any) -> str:
    target, changes = (compiler.process(clause, **options) for clause in element.clauses)
    return f"json_set(coalesce({target}, '{{}}'), '$.file_changes', json({changes}))"


@compiles(json_with_file_changes, "postgresql")
def _set_in_postgresql(
    element: json_with_file_changes, compiler: SQLCompiler, **options: Any
) -> str:
    target, changes = (compiler.process(clause, **options) for clause in element.clauses)
    return f"(coalesce({target}, '{{}}'::jsonb) || jsonb_build_object('file_changes', {changes}))"
