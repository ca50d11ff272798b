"""Column types and SQL functions that SQLite and PostgreSQL spell differently."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from math import isfinite
from typing import Any, cast
from uuid import UUID

from sqlalchemy import JSON, BigInteger, Dialect, Enum, Integer, Text
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

TOO_LARGE_FOR_ROW = "This is larger, or nested deeper, or holds larger numbers than a row may."
DOCUMENT_UNREADABLE = (
    "A document stored here is nested too deep or holds numbers that are too large to be read; "
    "store it again."
)


def sanitize(value: Any) -> Any:
    """Replace what no database takes: NUL, lone surrogates, NaN and the infinities."""
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
    """Write JSON as it is stored: compact, readable, and without what cannot be stored."""
    try:
        text = _compact(value)
    except ValueError:
        return _compact(sanitize(value))
    # JSON writes NUL as an escape, so the text alone cannot be cleaned; the value is.
    if "\\u0000" in text or UNSTORABLE.search(text):
        return _compact(sanitize(value))
    return text


def load_json(text: str | bytes) -> Any:
    """Read JSON. Raises `RowUnreadable` for numbers too long and lists too deep for Python."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise RowUnreadable(DOCUMENT_UNREADABLE) from None


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def to_utc(moment: datetime) -> datetime:
    """Return the moment in UTC. Raises `ValueError` without a zone: it could be any moment."""
    if moment.tzinfo is None:
        raise ValueError("a moment needs a time zone")
    return moment.astimezone(UTC)


def normalize_user_id(user_id: str) -> str:
    """Return a user's id in its usual spelling. Raises `NotFound` for what is no UUID."""
    try:
        return str(UUID(user_id))
    except ValueError:
        raise NotFound("There is no such user.") from None


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, in UTC both ways. SQLite keeps ISO 8601 text whose order is the order in time."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Use `timestamptz` where there is one."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Refuse a moment without a zone: nobody could say later which one was meant."""
        if value is None:
            return None
        moment = to_utc(value)
        if dialect.name == "postgresql":
            return moment
        return moment.isoformat(timespec="microseconds")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return UTC whatever zone the session is in."""
        if value is None:
            return None
        if isinstance(value, str):
            return datetime.fromisoformat(value)
        return cast("datetime", value).astimezone(UTC)


class UserId(TypeDecorator[str]):
    """A UUID in its usual spelling, so that every spelling of it names the same user."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Use `uuid` where there is one."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(POSTGRESQL_UUID(as_uuid=False))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Treat what is no UUID as a user that does not exist."""
        return None if value is None else normalize_user_id(value)


class CleanText(TypeDecorator[str]):
    """Text that may come from an agent: what cannot be stored becomes U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Clean it."""
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
    """`json_appended(array, item)`: the array with one more item, made by the database."""

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


class json_with_file_changes(GenericFunction[Any]):  # noqa: N801
    """`json_with_file_changes(object, list)`: the object, or `{}`, with `file_changes` set."""

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
