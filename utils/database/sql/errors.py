"""Translates errors of SQLAlchemy and the drivers to errors of this application."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

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
from utils.error_rules import ErrorTemplate, Rule, first_match
from utils.errors import (
    AppError,
    Conflict,
    DatabaseUnavailable,
    InvalidInput,
    NotFound,
    Unauthenticated,
)

# SQLSTATEs and SQLite's extended result codes.
UNIQUE = (
    "23505",
    str(sqlite3.SQLITE_CONSTRAINT_UNIQUE),
    str(sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY),
)
FOREIGN_KEY = ("23503", str(sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY))
# A trigger of SQLite refuses the row; see migration 0026.
RAISED = (str(sqlite3.SQLITE_CONSTRAINT_TRIGGER),)
CHECK = ("23514",)
NUMBER_OUT_OF_RANGE = ("22003",)

# The first rule that matches decides. `None` marks a bug, which is raised unchanged.
ERROR_RULES: tuple[Rule[Exception, ErrorTemplate[AppError] | None], ...] = (
    Rule(ErrorTemplate(InvalidInput, None, NOT_UNICODE), kinds=(UnicodeEncodeError,)),
    Rule(ErrorTemplate(NotFound, None, NO_ROW), kinds=(OverflowError,)),
    Rule(
        ErrorTemplate(DatabaseUnavailable, None, "The database is busy; try again."),
        kinds=(exc.TimeoutError,),
    ),
    Rule(
        ErrorTemplate(Unauthenticated, None, USER_GONE),
        kinds=(exc.IntegrityError,),
        codes=FOREIGN_KEY,
    ),
    Rule(
        ErrorTemplate(Conflict, None, PROJECT_EXISTS),
        kinds=(exc.IntegrityError,),
        codes=UNIQUE,
        pattern="projects",
    ),
    Rule(ErrorTemplate(Conflict, None, ROW_EXISTS), kinds=(exc.IntegrityError,), codes=UNIQUE),
    Rule(
        ErrorTemplate(Conflict, None, ROW_EXISTS),
        kinds=(exc.IntegrityError,),
        codes=RAISED,
        pattern="the moment of the schedule",
    ),
    Rule(
        ErrorTemplate(InvalidInput, None, TOO_LARGE_FOR_ROW),
        kinds=(exc.IntegrityError,),
        codes=CHECK,
    ),
    Rule(None, kinds=(exc.IntegrityError,)),
    Rule(ErrorTemplate(NotFound, None, NO_ROW), kinds=(exc.DataError,), codes=NUMBER_OUT_OF_RANGE),
    Rule(ErrorTemplate(InvalidInput, None, VALUE_DOES_NOT_FIT), kinds=(exc.DataError,)),
    Rule(None, kinds=(exc.ProgrammingError,)),
    Rule(None, kinds=(exc.NotSupportedError,)),
    Rule(ErrorTemplate(DatabaseUnavailable, None, NO_ANSWER), kinds=(exc.OperationalError,)),
    Rule(ErrorTemplate(DatabaseUnavailable, None, NO_ANSWER), kinds=(exc.InterfaceError,)),
    Rule(ErrorTemplate(DatabaseUnavailable, None, NO_ANSWER), kinds=(exc.InternalError,)),
    Rule(ErrorTemplate(DatabaseUnavailable, None, NO_ANSWER), kinds=(exc.DatabaseError,)),
    Rule(None, kinds=(exc.DBAPIError,)),
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
    template = first_match(ERROR_RULES, error, code=str(code or ""), text=text)
    return None if template is None else template.fill()
