"""Reads the revision of a database and runs the migrations that are missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from sqlalchemy import Connection, exc, inspect, text

from utils.config.settings import Settings
from utils.database.engine_schema import install_engine
from utils.database.sql.engine import Engines, open_engines
from utils.database.sql.errors import translating
from utils.database.sql.reasons import with_reason
from utils.errors import ConfigurationError, DatabaseUnavailable

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"

# An arbitrary number, the same in every process that migrates.
ADVISORY_LOCK = 20_260_501

IDLE_SECONDS = 60.0
"""Longest time in which a migration may send nothing. It imports Alembic and all revisions in its
transaction, which takes seconds on a busy machine."""

# SQLSTATE of the exceptions that migrations raise; their messages are written for people.
REFUSED = "P0001"

# Makes PostgREST, if there is one, reload its schema cache.
RELOAD_SCHEMA = "NOTIFY pgrst, 'reload schema'"

log = structlog.get_logger(__name__)


def head_revision() -> str:
    """Return the newest revision, from the file names because importing Alembic is slow."""
    return max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def stored_revision(connection: Connection) -> str | None:
    """Return the revision of a database, or None when it is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if revision is None else str(revision)


def ensure_current(engines: Engines) -> None:
    """Migrate SQLite if necessary. Raises `ConfigurationError` for an outdated PostgreSQL."""
    stored = engines.read(stored_revision)
    if engines.kind == "sqlite" and (stored or "") < head_revision():
        upgrade(engines)
    else:
        require_head_revision(stored, "Run ./run.sh migrate")


def require_head_revision(stored: str | None, advice: str) -> None:
    """Raise `ConfigurationError` unless the revision is the newest one.

    The message for an older revision ends with `advice`.
    """
    head = head_revision()
    if stored is not None and stored > head:
        raise ConfigurationError(
            f"The database is at revision {stored}, but this version knows revisions up to {head} "
            "only. Start the newer version of the server."
        )
    if stored != head:
        raise ConfigurationError(
            f"The database is at revision {stored or 'none'}, this version needs {head}. {advice}"
        )


def upgrade(engines: Engines, *, engine: bool | None = False) -> None:
    """Run the missing migrations in one transaction; with `engine` install the task engine too.

    With None it is installed where that is possible. Raises `ConfigurationError` for a database
    that holds tables of another program.
    """
    with (
        translating(),
        _translating_exceptions(),
        engines.write_lock,
        engines.writers.connect() as connection,
    ):
        if engines.kind == "sqlite":
            _disable_foreign_keys(connection)
        else:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"))
        before = stored_revision(connection)
        _run_alembic(connection)
        if engines.kind == "postgresql":
            if engine:
                install_engine(connection)
            elif engine is None:
                _install_if_possible(connection)
            connection.execute(text(RELOAD_SCHEMA))
        connection.commit()
    if before != head_revision():
        log.info(
            "database migrated",
            action="database.migrated",
            before=before or "none",
            revision=head_revision(),
        )


def _install_if_possible(connection: Connection) -> None:
    try:
        with connection.begin_nested():
            install_engine(connection)
    except exc.DBAPIError as error:
        if error.connection_invalidated:
            raise
        log.warning(
            "task engine not installed: servers run the tasks that they are sent",
            action="engine.not_installed",
            reason=_first_line(error),
        )


@contextmanager
def _translating_exceptions() -> Iterator[None]:
    try:
        yield
    except exc.DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != REFUSED:
            raise
        raise ConfigurationError(_first_line(error)) from error


def _first_line(error: exc.DBAPIError) -> str:
    return str(error.orig).partition("\n")[0]


def _disable_foreign_keys(connection: Connection) -> None:
    # SQLite alters a table by rebuilding it; dropping the old table would delete the rows that
    # refer to it by cascade. A detached connection is closed afterwards and not used again.
    connection.detach()
    cursor = connection.connection.cursor()
    cursor.execute("PRAGMA foreign_keys = OFF")
    cursor.close()


def _run_alembic(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS))
    command.upgrade(config, "head")


def migrate(settings: Settings, *, engine: bool | None = None) -> str:
    """Run the missing migrations of the configured database; return its revision.

    With `engine`, the task engine is installed or updated as well; with None this is tried in
    PostgreSQL unless the settings do without it. Raises `ConfigurationError` for a Supabase project
    without `DATABASE_URL`, and for an engine in SQLite.
    """
    if settings.uses_supabase and settings.database_url is None:
        raise ConfigurationError(
            "Set DATABASE_URL to the connection string of the Supabase project (see Connect on its "
            "dashboard), or paste supabase.sql into its SQL editor."
        )
    if engine and settings.database_url is None:
        raise ConfigurationError(
            "SQLite has no task engine and needs none. Set DATABASE_URL to use PostgreSQL."
        )
    if engine is None and settings.task_engine == "own":
        engine = False
    engines = open_engines(settings, IDLE_SECONDS)
    try:
        upgrade(engines, engine=engine)
        return head_revision()
    except DatabaseUnavailable as error:
        raise with_reason(error) from error
    finally:
        engines.close()
