"""Manages connections and transactions of the SQL gateway."""

from __future__ import annotations

import copy
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec, Self, TypeVar, cast

from sqlalchemy import Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy import exc as sql_errors
from sqlalchemy.engine import URL

from utils.config.database_url import CONNECTIONS, POOLED, database_address
from utils.config.private_folder import data_folder_unusable, open_private_folder
from utils.config.settings import Settings
from utils.database.changes import Changes
from utils.database.failures import FailureRecord
from utils.database.sql.errors import translating
from utils.database.sql.kept_connections import KeptConnections
from utils.database.sql.reasons import explain
from utils.database.types import dump_json, load_json
from utils.errors import ConfigurationError, DatabaseUnavailable

if TYPE_CHECKING:
    from typing import LiteralString

    import psycopg

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Methods = TypeVar("Methods", bound="SqlMethods")

SQLITE_LOCK_SECONDS = 10
SQLITE_READERS = 64
KEPT_READERS = 8
_BEGIN = "BEGIN IMMEDIATE"
SQLITE_FILE = "async-code.db"
POOL_WAIT_SECONDS = 10
OLDEST_SQLITE = (3, 35)

# A server that was frozen in a transaction loses it then. Its locks would hold up a takeover, and
# the beats of other workers for longer than their leases.
IDLE_TRANSACTION_SECONDS = 5
# A server that froze between the parts of a large statement is not idle for PostgreSQL, which since
# version 17 can end its transaction all the same. This is many times what any of ours takes.
TRANSACTION_TIMEOUT_VERSION = 170000
LONGEST_TRANSACTION = 60
"""Longest transaction, as a multiple of the longest idle one."""
# A dead peer is detected within seconds instead of hours.
POSTGRESQL_TIMEOUTS = {
    "connect_timeout": 5,
    "tcp_user_timeout": 15_000,
    "keepalives_idle": 30,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


class Kept(NamedTuple):
    """The connections that are kept at hand for reads and for writes."""

    readers: KeptConnections
    writers: KeptConnections


@dataclass(frozen=True, slots=True)
class Engines:
    """Holds the connection pools of one database.

    Reads run outside transactions. SQLite writers take `write_lock` first, because waiting for the
    lock of the file means polling; for PostgreSQL it does nothing. `connect` opens a connection
    outside the pools, for LISTEN; it is None where sessions are shared or connections are few.
    `kept` are the connections of SQLite that are at hand.
    """

    kind: str
    readers: Engine
    writers: Engine
    write_lock: AbstractContextManager[Any]
    failures: FailureRecord = field(default_factory=FailureRecord)
    connect: Callable[[], psycopg.Connection] | None = None
    kept: Kept | None = None

    def read(self, work: Callable[[Connection], Result]) -> Result:
        """Run reads; retry once when the connection was dead."""
        try:
            with translating():
                return _retried(partial(self._read_once, work))
        except DatabaseUnavailable as error:
            self.failures.record(explain(error), is_write=False)
            raise

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """Run a transaction; retry once when the connection died before the commit."""
        try:
            with translating():
                result = _retried(partial(self._write_once, work))
        except DatabaseUnavailable as error:
            self.failures.record(explain(error), is_write=True)
            raise
        self.failures.record_write()
        return result

    def close(self) -> None:
        """Close all connections."""
        if self.kept is not None:
            self.kept.readers.close()
            self.kept.writers.close()
        self.readers.dispose()
        self.writers.dispose()

    def _read_once(self, work: Callable[[Connection], Result]) -> Result:
        if self.kept is not None:
            return self.kept.readers.run(work)
        with self.readers.connect() as connection:
            return work(connection)

    def _write_once(self, work: Callable[[Connection], Result]) -> Result:
        def transaction(connection: Connection) -> Result:
            connection.begin()  # also for statements that go to the driver
            result = work(connection)
            # The commit may have succeeded: a connection lost here is not retried.
            with translating():
                connection.commit()
            return result

        with self.write_lock:
            if self.kept is not None:
                return self.kept.writers.run(transaction)
            with self.writers.connect() as connection:
                return transaction(connection)


class SqlMethods:
    """Base of the groups of methods."""

    def __init__(self, engines: Engines, server: str) -> None:
        self.engines = engines
        self.kind = engines.kind
        self.is_shared = engines.kind != "sqlite"
        self.knows_accounts = self.is_shared and engines.read(_has_accounts)
        self.server = server
        self.changes = Changes()

    def owned_by(self, run_id: str) -> Self:
        """See `Database`."""
        gateway = copy.copy(self)
        gateway.server = run_id
        return gateway


def _has_accounts(connection: Connection) -> bool:
    # The function of migration 0007, which only the database of a Supabase project has.
    name = "public.account_state(uuid,uuid)"
    found = connection.execute(select(func.to_regprocedure(name))).scalar()
    return found is not None


def reading(
    method: Callable[Concatenate[Methods, Connection, Arguments], Result],
) -> Callable[Concatenate[Methods, Arguments], Result]:
    """Decorate a method that only reads: pass it a connection."""

    @wraps(method)
    def run(self: Methods, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return self.engines.read(lambda connection: method(self, connection, *args, **kwargs))

    return run


def writing(
    method: Callable[Concatenate[Methods, Connection, Arguments], Result],
) -> Callable[Concatenate[Methods, Arguments], Result]:
    """Decorate a method that writes: commit when it returns, roll back when it raises."""

    @wraps(method)
    def run(self: Methods, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return self.engines.write(lambda connection: method(self, connection, *args, **kwargs))

    return run


def open_engines(settings: Settings, idle_seconds: float | None = None) -> Engines:
    """Return engines for PostgreSQL if `DATABASE_URL` is set, else for SQLite.

    `idle_seconds` takes the place of `IDLE_TRANSACTION_SECONDS`.
    """
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        return open_postgresql(url, settings.request_threads, idle_seconds)
    try:
        open_private_folder(settings.data_dir)
    except OSError as error:
        raise data_folder_unusable(settings.data_dir, error) from error
    return open_sqlite(settings.data_dir / SQLITE_FILE)


def open_sqlite(path: Path) -> Engines:
    """Return engines for a database file. Raises `ConfigurationError` for an old SQLite."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise ConfigurationError(
            f"This Python includes SQLite {sqlite3.sqlite_version}, but 3.35 or newer is required. "
            "Use a newer Python or set DATABASE_URL."
        )
    url = URL.create("sqlite", database=str(path))
    readers = _engine(
        url,
        isolation_level="AUTOCOMMIT",
        pool_size=SQLITE_READERS + KEPT_READERS,
        max_overflow=0,
        pool_timeout=POOL_WAIT_SECONDS,
    )
    # One is kept, the other one is for migrations.
    writers = _engine(url, pool_size=2, max_overflow=0)
    event.listen(readers, "connect", _prepare_sqlite_reader)
    event.listen(writers, "connect", prepare_sqlite)
    event.listen(writers, "begin", _begin_sqlite_write)
    kept = Kept(KeptConnections(readers, KEPT_READERS), KeptConnections(writers, 1))
    return Engines("sqlite", readers, writers, threading.Lock(), kept=kept)


def prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """Configure a connection: WAL, so that readers never wait, and foreign keys."""
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {SQLITE_LOCK_SECONDS * 1000}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _prepare_sqlite_reader(connection: sqlite3.Connection, record: object) -> None:
    prepare_sqlite(connection, record)
    connection.execute("PRAGMA query_only = ON")


def _begin_sqlite_write(connection: Connection) -> None:
    # A transaction that reads first and writes later can fail with "busy"; this one waits. It goes
    # to the driver, because SQLAlchemy works on it for longer than SQLite.
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101
    try:
        driver.execute(_BEGIN)
    except sqlite3.Error as error:
        failure = sql_errors.DBAPIError.instance(_BEGIN, None, error, sqlite3.Error)
        raise cast("sql_errors.DBAPIError", failure) from error


def open_postgresql(
    database_url: str, pool_size: int, idle_seconds: float | None = None
) -> Engines:
    """Return engines for a PostgreSQL URL. Raises `ConfigurationError` for another URL."""
    url = postgresql_url(database_url)
    limit = int(str(url.query.get(CONNECTIONS, 0)))
    options: dict[str, Any] = {
        name: value for name, value in POSTGRESQL_TIMEOUTS.items() if name not in url.query
    }
    if POOLED in url.query:
        # The next statement may run in another session, which does not know a prepared one.
        options["prepare_threshold"] = None
    engine = _engine(
        url.difference_update_query([POOLED, CONNECTIONS]),
        pool_size=limit or pool_size,
        max_overflow=0 if limit else pool_size,
        pool_timeout=POOL_WAIT_SECONDS,
        pool_use_lifo=True,
        connect_args=options,
    )
    idle_seconds = IDLE_TRANSACTION_SECONDS if idle_seconds is None else idle_seconds
    event.listen(engine, "connect", partial(_prepare_postgresql, idle_seconds=idle_seconds))
    event.listen(engine, "do_executemany", _execute_each)
    readers = engine.execution_options(isolation_level="AUTOCOMMIT")
    may_listen = POOLED not in url.query and not limit
    connect = partial(_connect_directly, url) if may_listen else None
    return Engines("postgresql", readers, engine, nullcontext(), connect=connect)


def _connect_directly(url: URL) -> psycopg.Connection:
    """Return a connection outside the pool, without transactions. Raises `psycopg.Error`."""
    import psycopg

    address = url.set(drivername="postgresql").difference_update_query([POOLED, CONNECTIONS])
    options: dict[str, Any] = {
        name: value for name, value in POSTGRESQL_TIMEOUTS.items() if name not in url.query
    }
    text = address.render_as_string(hide_password=False)
    return psycopg.connect(text, autocommit=True, **options)


def _prepare_postgresql(
    connection: psycopg.Connection, _record: object, *, idle_seconds: float
) -> None:
    """Prepare no statements behind a pooler, whose next transaction may run in another session.

    There a name may stand for the statement of another client. A pooler answers for many sessions,
    so the process that it names at the start is none of theirs. A session of our own is given the
    time limit for idle transactions; a pooler has a setting for it.
    """
    if connection.prepare_threshold is None:
        return
    connection.autocommit = True
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    if row is None or row[0] != connection.info.backend_pid:
        connection.prepare_threshold = None
    else:
        milliseconds = round(idle_seconds * 1000)
        connection.execute(f"SET idle_in_transaction_session_timeout = {milliseconds}")
        if connection.info.server_version >= TRANSACTION_TIMEOUT_VERSION:
            connection.execute(f"SET transaction_timeout = {LONGEST_TRANSACTION * milliseconds}")
    connection.autocommit = False


def _execute_each(
    cursor: psycopg.Cursor, statement: LiteralString, rows: Sequence[Any], _context: object
) -> bool:
    """Execute a statement for one row after the other; return True, because it is done.

    The driver would send all of them before it reads an answer. A server that is frozen meanwhile
    is not idle for PostgreSQL, so `IDLE_TRANSACTION_SECONDS` would not end its transaction.
    """
    for row in rows:
        cursor.execute(statement, row)
    return True


def postgresql_url(database_url: str) -> URL:
    """Return the URL with the installed driver. Raises `ConfigurationError`, without the URL."""
    try:
        url = make_url(database_address(database_url))
    except (sql_errors.ArgumentError, ValueError) as error:
        raise ConfigurationError(f"DATABASE_URL {error}.") from None
    return url.set(drivername="postgresql+psycopg")


def _engine(url: URL, **options: Any) -> Engine:
    # Parameters are hidden because error messages would contain stored data.
    return create_engine(
        url,
        json_serializer=dump_json,
        json_deserializer=load_json,
        hide_parameters=True,
        **options,
    )


def _retried(once: Callable[[], Result]) -> Result:
    # A liveness check of each connection would double the cost of a read. A dead connection raises
    # and invalidates the whole pool, so one retry is enough.
    try:
        return once()
    except sql_errors.DBAPIError as error:
        if not error.connection_invalidated:
            raise
    return once()
