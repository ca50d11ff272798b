"""Installing the engine: with DATABASE_URL, and by pasting into the editor of a project."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from tests.support.database.postgres_server import PostgresServer
from tests.support.database.samples import USER, new_task
from tests.support.database.schema_projects import Project
from utils.commands import supabase_sql
from utils.commands.supabase_sql import ENGINE_FILE
from utils.config.settings import Settings
from utils.database import engine_schema
from utils.database.engine_schema import EnginePackage, engine_sql, installed_package
from utils.database.migrations import migrate
from utils.database.sql.database import SqlDatabase, open_sql_database
from utils.dispatcher.sources.choice import settle_task_engine
from utils.errors import ConfigurationError

SCHEMA = """
CREATE SCHEMA absurd;
CREATE FUNCTION absurd.get_schema_version() RETURNS text LANGUAGE sql AS $$ SELECT '0.5.1'::text $$;
CREATE TABLE absurd.queues (name text PRIMARY KEY);
CREATE FUNCTION absurd.create_queue(name text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO absurd.queues VALUES (name) ON CONFLICT DO NOTHING $$;
"""
VERSION = (
    "CREATE OR REPLACE FUNCTION absurd.get_schema_version() RETURNS text LANGUAGE sql"
    " AS $$ SELECT '{version}'::text $$; CREATE TABLE absurd.of_{table} ();"
)
STEPS = {
    "0.5.0-0.5.1.sql": "never run",
    "0.10.0-1.0.0.sql": VERSION.format(version="1.0.0", table=3),
    "0.5.1-0.6.0.sql": VERSION.format(version="0.6.0", table=1),
    "0.6.0-0.10.0.sql": VERSION.format(version="0.10.0", table=2),
}


def version_of(connection: psycopg.Connection) -> object:
    row = connection.execute("SELECT absurd.get_schema_version()").fetchone()
    return row and row[0]


@pytest.fixture
def empty(postgres_server: PostgresServer, request: pytest.FixtureRequest) -> str:
    return postgres_server.create(f"install_{request.node.name[:40]}")


def test_an_engine_is_updated_step_by_step(empty: str) -> None:
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute(engine_sql(EnginePackage(SCHEMA, {})).encode())
        assert version_of(connection) == "0.5.1"
        for _ in range(2):
            connection.execute(engine_sql(EnginePackage("never run", STEPS)).encode())
            assert version_of(connection) == "1.0.0"
        assert connection.execute("SELECT * FROM absurd.queues").fetchall() == [("tasks",)]


def test_an_engine_that_is_too_old_is_left_alone(empty: str, tmp_path: Path) -> None:
    old = SCHEMA.replace("0.5.1", "0.4.0")
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute(old.encode())
    settings = Settings.model_validate({"data_dir": tmp_path, "database_url": empty})
    with pytest.raises(ConfigurationError, match=r"version 0\.4\.0, too old"):
        migrate(settings, engine=True)
    migrate(settings)
    database = open_sql_database(settings)
    with pytest.raises(ConfigurationError, match=r"version 0\.4\.0, too old"):
        database.use_engine(2)
    assert limits(database) == 0
    database.close()


def limits(database: SqlDatabase) -> object:
    def count(connection: Connection) -> object:
        return connection.execute(text("SELECT count(*) FROM engine_limits")).scalar()

    return database.engines.read(count)


def test_what_is_pasted_is_what_migrate_runs(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    supabase_sql.main(["--engine"])
    statements = (tmp_path / ENGINE_FILE).read_text(encoding="utf-8")
    assert engine_sql(installed_package()) in statements
    project.paste()
    database = open_sql_database(project.settings)
    database.ensure_user(USER)
    waiting = database.create_task(USER, new_task())
    project.run(statements)
    project.run(statements)
    migrate(project.settings, engine=True)
    database.use_engine(2)
    [run] = database.engine_claim(30, 5)
    assert run.task.id == waiting.id
    database.close()


def test_a_user_who_may_not_make_a_schema_migrates_without_the_engine(
    empty: str, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute("CREATE ROLE tables_only LOGIN")
        connection.execute("GRANT ALL ON SCHEMA public TO tables_only")
        [name] = connection.execute("SELECT current_database()").fetchone() or [""]
        url = postgres_server.url(name, "tables_only")
        settings = Settings.model_validate({"data_dir": tmp_path, "database_url": url})
        with structlog.testing.capture_logs() as logged:
            migrate(settings)
        [warning] = [one for one in logged if one["action"] == "engine.not_installed"]
        assert "permission denied" in warning["reason"]
        with pytest.raises(ProgrammingError, match="permission denied"):
            migrate(settings, engine=True)
        database = open_sql_database(settings)
        assert settle_task_engine(settings, database).task_engine == "own"
        database.close()


def test_migrate_installs_the_engine_unless_the_settings_do_without_it(
    empty: str, tmp_path: Path
) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path, "database_url": empty})
    migrate(settings.model_copy(update={"task_engine": "own"}))
    with psycopg.connect(empty, autocommit=True) as connection:
        found = "SELECT to_regnamespace('absurd') IS NOT NULL"
        assert connection.execute(found).fetchone() == (False,)
        migrate(settings)
        assert connection.execute(found).fetchone() == (True,)


def test_the_text_of_the_engine_is_in_no_file_of_ours() -> None:
    assert "absurd.claim_task" in installed_package().schema
    marks = ("create table absurd.", "portable_uuidv7", "v_claim_until")
    found = [mark for mark in marks if mark in supabase_sql.supabase_sql()]
    assert found == []


def test_the_package_is_new_enough_for_what_is_asked_of_the_database() -> None:
    package = installed_package()
    assert f"'{'.'.join(map(str, engine_schema.OLDEST))}'" in package.schema
    assert engine_schema.QUOTE not in engine_sql(package)[len(engine_schema.QUOTE) + 3 : -30]
    assert engine_sql(package).count(engine_schema.PART) == 2


def test_sqlite_has_no_engine(tmp_path: Path) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path, "database_url": None})
    with pytest.raises(ConfigurationError, match="SQLite has no task engine"):
        migrate(settings, engine=True)
