"""Runs hot statements with what was prepared once, in place of SQLAlchemy's work at each execution.

SQLAlchemy caches the text of a statement. Still each execution looks it up, makes a result with its
metadata, and takes about eight times as long as SQLite itself. A prepared statement keeps its text
and the converters of its types, and calls the driver.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, CursorResult, Delete, Insert, Select, Table, Update, insert
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

    def parameters(self, values: Mapping[str, Any]) -> list[Any]:
        """Return the values as the driver takes them."""
        known = {**self.fixed, **values}
        return [
            known[name] if convert is None else convert(known[name]) for name, convert in self.given
        ]


class Prepared:
    """A statement that runs often.

    The values of an insert or update are those of its columns, and of the named parameters. A
    transaction must have begun if it writes.
    """

    def __init__(self, statement: Select[Any] | Insert | Update | Delete) -> None:
        self._statement = statement
        self._compiled = cache(self._compile)

    def first(self, connection: Connection, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the first row by the names of its columns, None without one."""
        driver = connection.connection.dbapi_connection
        if not isinstance(driver, sqlite3.Connection):
            return self._first_explained(connection, values)
        compiled = self._compiled(tuple(values))
        try:
            # All rows: a statement that has not ended holds up the commit.
            rows = driver.execute(compiled.text, compiled.parameters(values)).fetchall()
        except sqlite3.Error:
            return self._first_explained(connection, values)
        if not rows:
            return None
        return {
            name: value if convert is None else convert(value)
            for value, (name, convert) in zip(rows[0], compiled.columns, strict=True)
        }

    def change(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Run a statement that writes; return the number of its rows."""
        driver = connection.connection.dbapi_connection
        if not isinstance(driver, sqlite3.Connection):
            return self._explained(connection, values).rowcount
        compiled = self._compiled(tuple(values))
        try:
            return driver.execute(compiled.text, compiled.parameters(values)).rowcount
        except sqlite3.Error:
            return self._explained(connection, values).rowcount

    def _first_explained(
        self, connection: Connection, values: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        row = self._explained(connection, values).mappings().first()
        return None if row is None else dict(row)

    def _explained(self, connection: Connection, values: Mapping[str, Any]) -> CursorResult[Any]:
        """Let SQLAlchemy run the statement, which knows what an error means for the connection."""
        return connection.execute(self._statement, values)

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


class PreparedRows:
    """Inserts rows into a table, often and many at once, in a transaction that has begun."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._one = Prepared(insert(table))

    def add(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert the rows, which all have the same columns."""
        if isinstance(connection.connection.dbapi_connection, sqlite3.Connection):
            for row in rows:
                self._one.change(connection, row)
        else:
            add_rows(connection, self._table, rows)


def add_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows with one statement for a thousand of them; all have the same columns."""
    # What is returned is not used: with it SQLAlchemy makes one statement of many rows.
    connection.execute(insert(table).returning(*table.primary_key), rows)


def _binding(kind: TypeEngine[Any]) -> Convert:
    return kind.dialect_impl(_DIALECT).bind_processor(_DIALECT)


def _reading(kind: TypeEngine[Any]) -> Convert:
    return kind.dialect_impl(_DIALECT).result_processor(_DIALECT, None)
