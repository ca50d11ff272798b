"""Installs the schema of the task engine, from the text in its package.

The engine has its own version and its own migrations, so that its schema is no revision of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sqlalchemy import Connection

from utils.errors import ConfigurationError

OLDEST = (0, 5, 1)
"""The first version whose claims do not become slower with the number of ended tasks."""

NEVER = (2_147_483_647,)
"""A version that no engine reaches: with it as the oldest, `engine_use` only tells the version."""

INSTALL = (
    "Run ./run.sh migrate --engine with DATABASE_URL, or paste what ./run.sh supabase-sql --engine "
    "writes into the SQL editor of the Supabase project."
)

QUOTE = "$task_engine$"
PART = "$task_engine_part$"

# One DO statement is atomic, whatever client sends it. The queue is that of migration 0020; whoever
# could use the schema could have tasks run, so only the functions of that migration use it.
INSTALL_SQL = """\
DO {quote}
BEGIN
IF to_regprocedure('absurd.get_schema_version()') IS NULL THEN
EXECUTE {part}
{schema}
{part};
END IF;
{migrations}
IF string_to_array(absurd.get_schema_version(), '.')::integer[] < ARRAY{oldest} THEN
RAISE EXCEPTION 'The task engine in the database has version %, too old to be updated here.'
  ' Update it with absurdctl first.', absurd.get_schema_version();
END IF;
PERFORM absurd.create_queue('tasks');
REVOKE ALL ON SCHEMA absurd FROM PUBLIC;
END
{quote};
"""

MIGRATION_SQL = """\
IF absurd.get_schema_version() = '{version}' THEN
EXECUTE {part}
{statements}
{part};
END IF;
"""


class EnginePackage(NamedTuple):
    """The SQL of an engine's package: all of it, and steps by names like `0.5.0-0.5.1.sql`."""

    schema: str
    migrations: Mapping[str, str]


def installed_package() -> EnginePackage:
    """Return the SQL of the installed package, whose import takes a moment."""
    import absurdctl

    return EnginePackage(absurdctl.BUNDLED_SCHEMA_SQL, absurdctl.BUNDLED_MIGRATIONS)


def engine_sql(package: EnginePackage) -> str:
    """Return one statement that installs the engine, or updates one that is not too old."""
    return INSTALL_SQL.format(
        quote=QUOTE,
        part=PART,
        schema=package.schema,
        migrations="".join(_steps(package.migrations)),
        oldest=list(OLDEST),
    )


def _steps(migrations: Mapping[str, str]) -> Iterator[str]:
    starts = {parse_version(name.partition("-")[0]): name for name in migrations}
    for version, name in sorted(starts.items()):
        if version >= OLDEST:
            start = ".".join(map(str, version))
            yield MIGRATION_SQL.format(version=start, part=PART, statements=migrations[name])


def install_engine(connection: Connection) -> None:
    """Install the engine in a PostgreSQL database, or update it.

    The statement raises an exception, with a message for people, for an engine that is too old.
    """
    # Without parameters the driver sends the text as it is: percent signs are no placeholders.
    options = {"no_parameters": True}
    connection.exec_driver_sql(engine_sql(installed_package()), execution_options=options)


def require_engine(version: str | None) -> None:
    """Raise `ConfigurationError` unless this version of the engine can be used."""
    if not is_usable(version):
        raise ConfigurationError(explain_version(version))


def is_usable(version: str | None) -> bool:
    """Tell whether this version of the engine, None where there is none, can be used."""
    return version is not None and parse_version(version) >= OLDEST


def explain_version(version: str | None) -> str:
    """Return why the engine cannot be used, and what to do."""
    if version is None:
        return f"The database has no task engine. {INSTALL}"
    return f"The task engine has version {version}, too old. {INSTALL}"


def parse_version(version: str) -> tuple[int, ...]:
    """Return the numbers of a version; none for a text that is no version."""
    numbers = version.split(".")
    return tuple(map(int, numbers)) if all(map(str.isdecimal, numbers)) else ()
