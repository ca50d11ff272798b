"""Every way to create the tables of a Supabase project gives the same schema."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from tests.support.database.schema_projects import OLDER, WAYS, Project
from tests.support.database.schema_snapshot import Snapshot
from tests.support.source_files import ROOT
from tests.support.suite.exhaustive import sampled
from utils.commands.supabase_sql import FILE, main, supabase_sql
from utils.database.migrations import IDLE_SECONDS, MIGRATIONS, ensure_current
from utils.database.schema import metadata
from utils.database.sql.engine import open_engines
from utils.errors import ConfigurationError

REVISIONS = sorted(path.name[:4] for path in (ROOT / "migrations/versions").glob("[0-9]*.py"))
NEAR = {REVISIONS[0], *REVISIONS[-4::2]}


@pytest.fixture(scope="module")
def expected(migrated_project: Project) -> Snapshot:
    return migrated_project.snapshot()


def test_the_committed_file_is_what_the_migrations_say() -> None:
    assert FILE.read_text(encoding="utf-8") == supabase_sql(), "run ./run.sh supabase-sql"
    main(["--check"])


def test_an_outdated_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.commands.supabase_sql.FILE", tmp_path / "supabase.sql")
    with pytest.raises(SystemExit, match="out of date"):
        main(["--check"])
    main([])
    main(["--check"])


# SQLAlchemy warns about NOT VALID when it reads a check that holds for new rows only.
@pytest.mark.filterwarnings("ignore:Can't validate argument 'dialect_options'")
def test_a_fresh_project_has_the_tables_that_the_gateway_expects(project: Project) -> None:
    project.paste()
    engines = open_engines(project.settings)
    try:
        found = engines.read(
            lambda connection: compare_metadata(MigrationContext.configure(connection), metadata)
        )
        ensure_current(engines)
    finally:
        engines.close()
    assert [change for change in found if not isinstance(change, list)] == []


@pytest.mark.parametrize("older", [None, *OLDER], ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_makes_the_same_schema(
    project: Project, expected: Snapshot, way: str, older: str | None
) -> None:
    if older:
        project.make_older(older)
    WAYS[way](project)
    assert project.snapshot() == expected


@pytest.mark.parametrize("revision", sampled(REVISIONS, NEAR, "they are made from the same file"))
def test_what_is_there_already_is_skipped(
    project: Project, expected: Snapshot, revision: str
) -> None:
    upgrade_to(project, revision)
    project.paste()
    assert project.snapshot() == expected
    project.paste()
    project.migrate()
    assert project.snapshot() == expected


def upgrade_to(project: Project, revision: str) -> None:
    engines = open_engines(project.settings, IDLE_SECONDS)
    with engines.writers.connect() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(MIGRATIONS))
        command.upgrade(config, revision)
        connection.commit()
    engines.close()


@pytest.mark.parametrize("way", WAYS)
def test_tables_of_somebody_else_are_left_alone(project: Project, way: str) -> None:
    project.run("CREATE TABLE tasks (id bigint PRIMARY KEY, title text)")
    with pytest.raises((ConfigurationError, psycopg.Error), match="a database of its own"):
        WAYS[way](project)
    tables = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    assert sorted(project.query(tables)) == [("tasks",), ("tasks_pkey",)]


def test_a_file_that_fails_in_the_middle_changes_nothing(project: Project) -> None:
    with pytest.raises(psycopg.Error):
        project.run(FILE.read_text(encoding="utf-8").replace("DEFAULT 'pending'", "DEFAULT 'x'"))
    assert project.query("SELECT to_regclass('public.alembic_version')::text") == [(None,)]


def test_the_file_stays_one_statement() -> None:
    text = FILE.read_text(encoding="utf-8")
    assert text.count("$supabase_sql$") == 2
    assert ROOT / "supabase.sql" == FILE
