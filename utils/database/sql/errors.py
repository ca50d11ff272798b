"""Translates errors of SQLAlchemy and the drivers to errors of this application."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import exc

from utils.database.shared import (
    NO_ANSWER,
    NO_ROW,
    NOT_UNICODE,
    PROJECT_EXISTS,
    ROW_EXISTS,
    USER_GONE,
    VALUE_DOES_NOT_FIT,
)
from utils.database.types import TOO_LARGE_FOR_ROW
from utils.errors import (
    AppError,
    Conflict,
    DatabaseUnavailable,
    InvalidInput,
    NotFound,
    Unauthenticated,
)


@dataclass(frozen=True, slots=True)
class Translation:
    """A row of the table. Without `answer` the error is a bug and is raised unchanged.

    `codes` are SQLSTATEs and SQLite's extended result codes; the message must contain `table`.
    """

    error: type[Exception]
    answer: type[AppError] | None = None
    message: str = ""
    codes: frozenset[object] = frozenset()
    table: str = ""


UNIQUE = frozenset(
    {"23505", sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}
)
FOREIGN_KEY = frozenset({"23503", sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY})
NOT_ALLOWED = frozenset({"23514"})
IMPOSSIBLE_NUMBER = frozenset({"22003"})

# The first row that matches applies.
TRANSLATIONS = (
    Translation(UnicodeEncodeError, InvalidInput, NOT_UNICODE),
    Translation(OverflowError, NotFound, NO_ROW),
    Translation(exc.TimeoutError, DatabaseUnavailable, "The database is busy; try again."),
    Translation(exc.IntegrityError, Unauthenticated, USER_GONE, FOREIGN_KEY),
    Translation(
        exc.IntegrityError,
        Conflict,
        PROJECT_EXISTS,
        UNIQUE,
        "projects",
    ),
    Translation(exc.IntegrityError, Conflict, ROW_EXISTS, UNIQUE),
    Translation(exc.IntegrityError, InvalidInput, TOO_LARGE_FOR_ROW, NOT_ALLOWED),
    Translation(exc.IntegrityError),
    Translation(exc.DataError, NotFound, NO_ROW, IMPOSSIBLE_NUMBER),
    Translation(exc.DataError, InvalidInput, VALUE_DOES_NOT_FIT),
    Translation(exc.ProgrammingError),
    Translation(exc.NotSupportedError),
    Translation(exc.OperationalError, DatabaseUnavailable, NO_ANSWER),
    Translation(exc.InterfaceError, DatabaseUnavailable, NO_ANSWER),
    Translation(exc.InternalError, DatabaseUnavailable, NO_ANSWER),
    Translation(exc.DatabaseError, DatabaseUnavailable, NO_ANSWER),
    Translation(exc.DBAPIError),
)


@contextmanager
def translating() -> Iterator[None]:
    """Raise the translated error in place of the database's."""
    try:
        yield
    except (exc.SQLAlchemyError, OverflowError, UnicodeEncodeError) as error:
        answer = translate(error)
        if answer is None:
            raise
        raise answer from error


def translate(error: Exception) -> AppError | None:
    """Return the translation of a database error, or None for a bug of this application."""
    cause = getattr(error, "orig", None)
    if isinstance(cause, AppError):
        return cause
    code = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorcode", None)
    # Further lines may quote values of the row.
    text = str(cause).partition("\n")[0]
    for line in TRANSLATIONS:
        fits = isinstance(error, line.error) and (not line.codes or code in line.codes)
        if fits and line.table in text:
            return line.answer(line.message) if line.answer else None
    return None
