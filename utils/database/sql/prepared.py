"""Runs hot statements with what was prepared once, in place of SQLAlchemy's work at each execution.

SQLAlchemy caches the text of a statement. Still each execution looks it up, makes a result with its
metadata, and takes about eight times as long as SQLite itself. A prepared statement keeps its text
and the converters of its types, and calls the driver.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, Insert, Select
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from utils.database.types import dump_json, load_json

Convert = Callable[[Any], Any] | None

_DIALECT = sqlite.dialect(json_serializer=dump_json, json_deserializer=load_json)


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement as the driver takes it.

    `given` are the parameters by position: their names and converters. Those of `fixed` belong to
    the statement itself. `columns` are the columns of its result.
    """

    text: str
    fixed: Mapping[str, Any]
    given: tuple[tuple[str, Convert], ...]
    columns: tuple[tuple[str, Convert], ...]


class Prepared:
    """A statement whose result has one row at most: a select, or an insert that returns columns."""

    def __init__(self, statement: Select[Any] | Insert) -> None:
        self._statement = statement
        self._compiled = cache(self._compile)

    def first(self, connection: Connection, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the row by the names of its columns, None without one.

        A transaction must have begun if the statement writes.
        """
        driver = connection.connection.dbapi_connection
        if not isinstance(driver, sqlite3.Connection):
            return self._explained(connection, values)
        compiled = self._compiled(tuple(values))
        known = {**compiled.fixed, **values}
        given = [
            known[name] if convert is None else convert(known[name])
            for name, convert in compiled.given
        ]
        try:
            # All rows: a statement that has not ended holds up the commit.
            rows = driver.execute(compiled.text, given).fetchall()
        except sqlite3.Error:
            return self._explained(connection, values)
        if not rows:
            return None
        return {
            name: value if convert is None else convert(value)
            for value, (name, convert) in zip(rows[0], compiled.columns, strict=True)
        }

    def _explained(
        self, connection: Connection, values: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Let SQLAlchemy run the statement, which knows what an error means for the connection."""
        row = connection.execute(self._statement, values).mappings().first()
        return None if row is None else dict(row)

    def _compile(self, names: tuple[str, ...]) -> _Compiled:
        compiled = self._statement.compile(dialect=_DIALECT, column_keys=list(names))
        assert isinstance(compiled, SQLCompiler)  # noqa: S101
        binds = compiled.binds
        return _Compiled(
            text=compiled.string,
            fixed={name: bind.value for name, bind in binds.items() if not bind.required},
            given=tuple((name, _binding(binds[name].type)) for name in compiled.positiontup or ()),
            columns=tuple(
                (column.name, _reading(column.type)) for column in self._statement.exported_columns
            ),
        )


def _binding(kind: TypeEngine[Any]) -> Convert:
    return kind.dialect_impl(_DIALECT).bind_processor(_DIALECT)


def _reading(kind: TypeEngine[Any]) -> Convert:
    return kind.dialect_impl(_DIALECT).result_processor(_DIALECT, None)
