"""Opening and migrating a database, and outages of it."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event as Signal
from threading import Thread
from typing import TYPE_CHECKING

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, exc, text

from database import open_database
from tests.support.backends import WAIT_SECONDS
from tests.support.database.samples import PENDING, RUNNING, USER, new_task, project_fields
from utils.commands.migrate import main as run_migrate_command
from utils.config.settings import Settings
from utils.database.migrations import MIGRATIONS, head_revision, migrate
from utils.database.schema import metadata
from utils.database.sql.database import SqlDatabase, open_sql_database
from utils.database.sql.engine import postgresql_url
from utils.database.sql.errors import ERROR_RULES, translate
from utils.errors import ConfigurationError, DatabaseUnavailable, InvalidInput

if TYPE_CHECKING:
    from tests.support.database.postgres_server import PostgresServer, StoppablePostgres


def sqlite_settings(folder: Path) -> Settings:
    return Settings.model_validate({"data_dir": folder, "database_url": None})


def postgresql_settings(folder: Path, url: str) -> Settings:
    return Settings.model_validate({"data_dir": folder, "database_url": url})


@pytest.fixture
def empty_database(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Settings]:
    url = postgres_server.create(tmp_path.name)
    yield postgresql_settings(tmp_path, url)
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{tmp_path.name}"'.encode())


@pytest.fixture(scope="module")
def stoppable_database(
    stoppable_postgres: StoppablePostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SqlDatabase]:
    url = stoppable_postgres.create("stoppable")
    settings = postgresql_settings(tmp_path_factory.mktemp("stoppable"), url)
    migrate(settings)
    database = open_sql_database(settings)
    yield database
    database.close()


def test_sqlite_is_made_and_migrated_when_it_is_opened(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    for _ in range(2):
        database = open_database(sqlite_settings(folder))
        assert database.kind == "sqlite"
        database.ensure_user(USER)
        database.close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_sqlite_keeps_its_promises_in_its_settings(sqlite_database: SqlDatabase) -> None:
    def setting(connection: Connection, name: str) -> object:
        return connection.execute(text(f"PRAGMA {name}")).scalar()

    for run in (sqlite_database.engines.read, sqlite_database.engines.write):
        assert run(lambda connection: setting(connection, "journal_mode")) == "wal"
        assert run(lambda connection: setting(connection, "synchronous")) == 1
        assert run(lambda connection: setting(connection, "foreign_keys")) == 1


def test_a_reading_verb_cannot_write_in_sqlite(sqlite_database: SqlDatabase) -> None:
    clear = text("DELETE FROM users")
    with pytest.raises(DatabaseUnavailable):
        sqlite_database.engines.read(lambda connection: connection.execute(clear))


def test_opening_a_current_sqlite_does_not_import_alembic(sqlite_file: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from database import open_database; from utils.config.settings import Settings\n"
        f"open_database(Settings(data_dir=Path({str(sqlite_file.parent)!r}))).close()\n"
        "sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=MIGRATIONS.parent)


def test_a_folder_that_cannot_be_made_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="DATA_DIR"):
        open_database(sqlite_settings(tmp_path / "file" / "data"))


def test_a_file_that_is_no_database_is_told_apart_from_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "async-code.db").write_bytes(b"not a database" * 100)
    with pytest.raises(DatabaseUnavailable):
        open_database(sqlite_settings(tmp_path))


def test_a_database_of_a_newer_version_is_left_alone(sqlite_file: Path, tmp_path: Path) -> None:
    copy = tmp_path / sqlite_file.name
    copy.write_bytes(sqlite_file.read_bytes())
    connection = sqlite3.connect(copy)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(ConfigurationError, match="newer version"):
        open_database(sqlite_settings(tmp_path))


def test_postgresql_is_opened_only_after_it_was_migrated(empty_database: Settings) -> None:
    with pytest.raises(ConfigurationError, match=r"\./run\.sh migrate"):
        open_database(empty_database)
    assert migrate(empty_database) == migrate(empty_database) == head_revision()
    database = open_database(empty_database)
    assert database.kind == "postgresql"
    assert database.ensure_user(USER).id == USER
    database.close()


def test_a_migration_may_be_slower_between_two_statements_than_a_server(
    empty_database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utils.database.sql.engine.IDLE_TRANSACTION_SECONDS", 0.02)
    assert migrate(empty_database) == head_revision()


def test_wrong_settings_are_explained_before_anything_is_migrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORT", "many")
    with pytest.raises(SystemExit) as end:
        run_migrate_command()
    assert "PORT: Input should be" in str(end.value)
    assert "TCP port to listen on." in str(end.value)
    assert list(tmp_path.iterdir()) == []


def test_the_newest_file_is_the_head_of_one_chain() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [head_revision()]


# SQLAlchemy warns about NOT VALID when it reads a check that holds for new rows only.
@pytest.mark.filterwarnings("ignore:Can't validate argument 'dialect_options'")
def test_the_migrations_make_the_tables_that_the_gateway_expects(sql_database: SqlDatabase) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection)
        found = compare_metadata(context, metadata)
        return [change for change in found if not isinstance(change, list)]

    assert sql_database.engines.read(differences) == []


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_usual_spelling_of_a_postgresql_url_is_taken(scheme: str) -> None:
    url = postgresql_url(f"{scheme}://me:secret@host:5433/name?sslmode=require")
    assert url.drivername == "postgresql+psycopg"
    assert (url.password, url.port, url.query["sslmode"]) == ("secret", 5433, "require")


@pytest.mark.parametrize(
    "url", ["mysql://me:secret@host/name", "secret", "postgres://me:secret@host:port/name"]
)
def test_another_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        postgresql_url(url)
    assert "secret" not in refusal.value.message


def test_a_server_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable) as refusal:
        open_database(postgresql_settings(tmp_path, "postgres://me:secret@127.0.0.1:1/name"))
    assert "secret" not in str(refusal.value) + str(refusal.value.__cause__)


def test_a_dead_postgresql_is_unavailable_until_it_is_back(
    stoppable_postgres: StoppablePostgres, stoppable_database: SqlDatabase
) -> None:
    stoppable_database.ensure_user(USER)
    task = stoppable_database.create_task(USER, new_task())
    stoppable_postgres.stop()
    try:
        with pytest.raises(DatabaseUnavailable):
            stoppable_database.ping()
        with pytest.raises(DatabaseUnavailable):
            stoppable_database.get_task_status(USER, task.id)
        with pytest.raises(DatabaseUnavailable):
            stoppable_database.move_task(task.id, {PENDING}, RUNNING)
    finally:
        stoppable_postgres.start()
    assert stoppable_database.get_task_status(USER, task.id) == task


def test_a_restart_between_two_calls_goes_unnoticed(
    stoppable_postgres: StoppablePostgres, stoppable_database: SqlDatabase
) -> None:
    stoppable_database.ensure_user(USER)
    task = stoppable_database.create_task(USER, new_task())
    stoppable_postgres.stop()
    stoppable_postgres.start()
    assert stoppable_database.get_task_status(USER, task.id) == task
    stoppable_postgres.stop()
    stoppable_postgres.start()
    moved = stoppable_database.move_task(task.id, {PENDING}, RUNNING)
    assert moved is not None
    assert moved.attempt == 1


def test_readers_do_not_wait_for_a_writer(sql_database: SqlDatabase) -> None:
    task = sql_database.create_task(USER, new_task())
    written, go_on = Signal(), Signal()

    def hold(connection: Connection) -> None:
        connection.execute(text("UPDATE tasks SET stage = 'held'"))
        written.set()
        assert go_on.wait(WAIT_SECONDS)

    writer = Thread(target=lambda: sql_database.engines.write(hold))
    writer.start()
    try:
        assert written.wait(WAIT_SECONDS)
        assert sql_database.get_task_status(USER, task.id).stage is None
    finally:
        go_on.set()
        writer.join()
    assert sql_database.get_task_status(USER, task.id).stage == "held"


def test_a_verb_that_fails_leaves_nothing_behind(sql_database: SqlDatabase) -> None:
    def fail(connection: Connection) -> None:
        connection.execute(text("DELETE FROM users"))
        raise InvalidInput("Changed my mind")

    with pytest.raises(InvalidInput):
        sql_database.engines.write(fail)
    assert sql_database.get_user(USER).id == USER


def test_a_mistake_of_this_program_stays_what_it_is_and_hides_the_values(
    sql_database: SqlDatabase,
) -> None:
    with pytest.raises(exc.IntegrityError) as failure:
        sql_database.create_project(
            USER, {**project_fields(), "name": None, "description": "private"}
        )
    assert "private" not in str(failure.value).partition("DETAIL")[0]
    with pytest.raises(exc.CompileError):
        sql_database.create_project(USER, {**project_fields(), "colour": "blue"})


def every_subclass(root: type[Exception]) -> set[type[Exception]]:
    return {root}.union(*(every_subclass(child) for child in root.__subclasses__()))


def test_every_error_a_driver_can_raise_is_in_the_table() -> None:
    listed = {kind for rule in ERROR_RULES for kind in rule.kinds}
    assert every_subclass(exc.DBAPIError) <= listed


def test_a_full_pool_is_unavailable() -> None:
    assert isinstance(translate(exc.TimeoutError()), DatabaseUnavailable)
