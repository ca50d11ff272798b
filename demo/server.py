"""Starts the demonstration's own server as a child process, waits for it and stops it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self

from demo.client import ApiError, Client, NoAnswerError
from demo.options import ROOT

HOST = "127.0.0.1"
READY_SECONDS = 30.0
STOP_SECONDS = 20.0

MAIN = ROOT / "main.py"

_LISTENING = re.compile(rb"^Listening on http://127\.0\.0\.1:(\d+) ", re.MULTILINE)

# Settings of the user's deployment that must not reach the server of a demonstration.
_NOT_INHERITED = frozenset(
    {
        "DATABASE_URL",
        "SUPABASE_URL",
        "SUPABASE_SERVICE_ROLE_KEY",
        "SUPABASE_JWT_SECRET",
        "SUPABASE_JWKS_URL",
        "MIRROR_DIR",
        "JWT_SECRET",
        # A cloud sandbox costs money and could not read the sample repository.
        "E2B_API_KEY",
        "SANDBOX",
        "SIMULATE_WITH_REAL_AGENT",
    }
)


class ServerError(Exception):
    """The server stopped or did not become ready; the message contains the end of its log."""


class Server:
    """Runs `python main.py` with its own data folder. Use it in a `with` statement.

    It uses a free port, which is known once it is ready. It runs in its own session, so that
    Ctrl-C reaches only the demonstration, which cancels the task before it stops the server. Its
    working directory is the data folder, so that it does not read the user's `.env`.
    """

    def __init__(
        self,
        data_dir: Path,
        environment: Mapping[str, str],
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.port = 0
        self.log_path = data_dir / "server.log"
        self._data_dir = data_dir
        self._environment = environment
        self._variables = variables
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL it listens on, once it is ready."""
        return f"http://{HOST}:{self.port}"

    def client(self) -> Client:
        """Return a client that connects to this server."""
        return Client(HOST, self.port)

    def __enter__(self) -> Self:
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self.log_path.write_bytes(b"")
        self._start()
        return self

    def kill(self) -> int:
        """Kill it as `kill -9` does; return the id of the process."""
        process = self._process
        if process is None:
            raise ServerError("There is no server to kill.")
        # The group has all processes of the server. Those of a task are in groups of their own.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return process.pid

    def restart(self) -> None:
        """Start it again on its data folder and port, after it has ended."""
        self._start()
        self.wait_ready()

    def _start(self) -> None:
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(MAIN)],
                cwd=self._data_dir,
                env=self._server_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_ready(self) -> None:
        """Wait until it accepts requests. Raises `ServerError` if it does not."""
        deadline = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            if self.has_ended():
                raise ServerError(f"The server did not start. Its log ends:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise ServerError(
                    f"The server was not ready in time. Its log ends:\n{self.log_tail()}"
                )
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        announced = _LISTENING.search(self.log_path.read_bytes())
        if announced is None:
            return False
        self.port = int(announced[1])
        with contextlib.closing(self.client()) as client:
            try:
                client.get("/health/ready")
            except (ApiError, NoAnswerError):
                return False
        return True

    def has_ended(self) -> bool:
        """Return True when the process has ended."""
        return self._process is None or self._process.poll() is not None

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines of its log."""
        text = self.log_path.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def wait(self) -> None:
        """Wait until it ends by itself."""
        if self._process is not None:
            self._process.wait()

    def stop(self) -> None:
        """Terminate it, wait, and kill it after `STOP_SECONDS`. Ctrl-C does not interrupt this."""
        if self._process is None or self.has_ended():
            return
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._process.terminate()
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            signal.signal(signal.SIGINT, previous)

    def _server_environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in self._environment.items() if k not in _NOT_INHERITED}
        return inherited | {
            "ENVIRONMENT": "development",
            "HOST": HOST,
            "PORT": str(self.port),
            "DATA_DIR": str(self._data_dir),
            "TRUST_USER_ID": "true",
            "ALLOW_LOCAL_REPOS": "true",
            "ALLOWED_GIT_HOSTS": "*",
            "PYTHONUNBUFFERED": "1",
            **self._variables,
        }
