"""Reads the revision of a database and runs the migrations that are missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, exc, inspect, text

from utils.config.settings import Settings
from utils.database.sql.engine import Engines, open_engines
from utils.database.sql.errors import translating
from utils.errors import ConfigurationError

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"

# Any number will do, as long as every process that migrates takes the same.
ADVISORY_LOCK = 20_260_501

# The SQLSTATE of what a migration refuses to do, in words of its own.
REFUSED = "P0001"

# Heard by PostgREST, where there is one: it remembers tables and functions.
RELOAD_SCHEMA = "NOTIFY pgrst, 'reload schema'"


def head_revision() -> str:
    """Return the newest revision, read from the file names: Alembic takes long to import."""
    return max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def stored_revision(connection: Connection) -> str | None:
    """Return the revision a database is at, None when it is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if revision is None else str(revision)


def ensure_current(engines: Engines) -> None:
    """Bring SQLite up to date; raise `ConfigurationError` for a PostgreSQL that is not."""
    stored = engines.read(stored_revision)
    if engines.kind == "sqlite" and (stored or "") < head_revision():
        upgrade(engines)
    else:
        require_head_revision(stored, "Run ./run.sh migrate")


def require_head_revision(stored: str | None, advice: str) -> None:
    """Raise `ConfigurationError` unless the revision is the newest; `advice` helps an older."""
    head = head_revision()
    if stored is not None and stored > head:
        raise ConfigurationError(
            f"The database is at revision {stored}, this version knows {head}: it was made by a "
            "newer version. Start that one."
        )
    if stored != head:
        raise ConfigurationError(
            f"The database is at revision {stored or 'none'}, this version needs {head}. {advice}"
        )


def upgrade(engines: Engines) -> None:
    """Run the missing migrations, all or none of them.

    Raises `ConfigurationError` for a database that holds the tables of another program.
    """
    with (
        translating(),
        _telling_refusals(),
        engines.write_lock,
        engines.writers.connect() as connection,
    ):
        if engines.kind == "sqlite":
            _forget_foreign_keys(connection)
        else:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"))
        _run_alembic(connection)
        if engines.kind == "postgresql":
            connection.execute(text(RELOAD_SCHEMA))
        connection.commit()


@contextmanager
def _telling_refusals() -> Iterator[None]:
    try:
        yield
    except exc.DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != REFUSED:
            raise
        raise ConfigurationError(str(error.orig).partition("\n")[0]) from error


def _forget_foreign_keys(connection: Connection) -> None:
    # SQLite changes a table by rebuilding it, and dropping the old one would delete, by cascade,
    # the rows that refer to it. Detached, the connection is closed afterwards and not used again.
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


def migrate(settings: Settings) -> str:
    """Bring the configured database up to date; return its revision.

    Raises `ConfigurationError` where only the SQL editor of a Supabase project would reach it.
    """
    if settings.uses_supabase and settings.database_url is None:
        raise ConfigurationError(
            "Set DATABASE_URL to the connection string of the Supabase project, under Connect on "
            "its page, or paste supabase.sql into its SQL editor."
        )
    engines = open_engines(settings)
    try:
        upgrade(engines)
        return head_revision()
    finally:
        engines.close()
