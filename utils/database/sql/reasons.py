"""Tells an operator why a database cannot be used. Clients get no such details."""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError

from utils.error_rules import Rule, first_match
from utils.errors import DatabaseUnavailable

# psycopg gives no SQLSTATE for a refused connection, so these rules read its words.
_RULES: tuple[Rule[Exception, str], ...] = (
    Rule(
        "The database refuses the user or the password in DATABASE_URL. Correct them.",
        pattern=r"password authentication failed|no password supplied|SASL authentication failed"
        r"|[Ww]rong password|role \S+ does not exist|Tenant or user not found",
    ),
    Rule(
        "The database named in DATABASE_URL does not exist. Create it, or correct the name.",
        pattern=r"database \S+ does not exist",
    ),
    Rule(
        "The host in DATABASE_URL has no address. Correct it, or check the network.",
        pattern=r"could not translate host name|[Nn]ame or service not known|resolve host"
        r"|nodename nor servname|No address associated",
    ),
    Rule(
        "Nothing accepts connections at the host and port in DATABASE_URL. Start the database, or "
        "correct the address.",
        pattern=r"Connection refused|connection to server on socket",
    ),
    Rule(
        "The database refuses this kind of connection. Check sslmode in DATABASE_URL, and the "
        "access rules of the database.",
        pattern=r"no pg_hba\.conf entry|SSL|certificate verify failed",
    ),
    Rule(
        "The database has no free connection. Stop other programs, or set connection_limit in "
        "DATABASE_URL.",
        pattern=r"too many (?:clients|connections)|remaining connection slots|[Mm]ax client",
    ),
    Rule(
        "The disk of the database is full. Free some space; SQLite is in DATA_DIR.",
        pattern=r"No space left on device|database or disk is full",
    ),
    Rule(
        "The database cannot be written. Make it writable for this user, or connect to the "
        "primary server.",
        pattern=r"readonly database|read-only transaction|unable to open database file",
    ),
    Rule(
        "The database user may not use the tables. Connect as their owner, or grant the rights.",
        pattern=r"permission denied",
    ),
    Rule(
        "The file async-code.db in DATA_DIR is damaged, or no SQLite database. Restore it from a "
        "backup, or move it away.",
        pattern=r"file is not a database|disk image is malformed",
    ),
    Rule(
        "The database did not answer in time. Check its address, the network and the firewall.",
        pattern=r"timeout expired|timed out|Connection timed out",
    ),
)


def driver_text(error: BaseException) -> str:
    """Return the first line of the driver's message, which holds no values of a row."""
    cause = error.__cause__ or error
    origin = getattr(cause, "orig", None) or cause
    return str(origin).partition("\n")[0].strip()


def explain(error: BaseException) -> str:
    """Return a sentence with the remedy, or the driver's message."""
    text = driver_text(error)
    return first_match(_RULES, Exception(), text=text) or text


def with_reason(error: DatabaseUnavailable) -> DatabaseUnavailable:
    """Return the same error with the reason for an operator as its message, if a driver had one."""
    if not isinstance(error.__cause__, SQLAlchemyError):
        return error
    explained = DatabaseUnavailable(explain(error), error.code)
    explained.__cause__ = error.__cause__
    return explained
