"""Starts the server to measure: in its own process, with its own data and default settings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import psutil

from benchmarks.connection import Connection, encode_request

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60
IDLE_SECONDS = 120
STOP_SECONDS = 40
POLL_SECONDS = 0.02

_LISTENING = re.compile(r"http://([\d.]+):(\d+)")
_BUSY = re.compile(rb"^async_code_tasks_(?:queued|running) (?!0\.0$)", re.MULTILINE)
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")


class Server:
    """Runs a server and signs in one user. Use it in a `with` statement.

    `program` replaces the usual server program, `user_id` the random id of the user.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        program: tuple[str, ...] = (str(ROOT / "main.py"),),
        user_id: str | None = None,
    ) -> None:
        self.data = folder / "data"
        self.sandboxes = self.data / "sandboxes"
        self._folder = folder
        self._settings = settings or {}
        self._program = program
        self.user_id = user_id or str(uuid4())
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Server:
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        # Its working directory has no .env, so that the one of the project is not read.
        self._process = subprocess.Popen(
            [sys.executable, *self._program],
            cwd=self._folder,
            env={
                **inherited,
                "PYTHONPATH": str(ROOT),
                "DATA_DIR": str(self.data),
                "PORT": "0",
                # The end of a task is the end of its sandbox.
                "WORKSPACE_TTL_SECONDS": "0",
                **self._settings,
            },
            stdout=subprocess.PIPE,
            stderr=(self._folder / "server.log").open("wb"),
            # Ctrl-C is for the benchmark, which stops this process.
            start_new_session=True,
        )
        try:
            self.address = self._read_address()
            self.connection = Connection(self.address)
            self.token = self._sign_in()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self._stop()

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> bytes:
        """Return an encoded request of the signed-in user."""
        return encode_request(method, path, body=body, token=self.token, headers=headers)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Send a request over the kept connection and return the JSON response."""
        return self.connection.send(self.request(method, path, body)).json()

    def start_task_request(self, repo_url: str, prompt: str, **task: str) -> bytes:
        """Return an encoded request that starts a task, which may have more fields."""
        body = {"prompt": prompt, "repo_url": repo_url, **task}
        return self.request("POST", "/api/start-task", body)

    def reconnect(self) -> None:
        """Open the kept connection again, which a server closes when it is idle for long."""
        self.connection.close()
        self.connection = Connection(self.address)

    def wait_until_idle(self, poll_seconds: float = POLL_SECONDS) -> None:
        """Wait until no task is queued or running and all sandboxes are gone."""
        deadline = time.monotonic() + IDLE_SECONDS
        while self._is_busy() or any(self.sandboxes.glob("*")):
            if time.monotonic() > deadline:
                raise TimeoutError("the server does not become idle")
            time.sleep(poll_seconds)

    def tasks(self) -> list[dict[str, Any]]:
        """Return the user's tasks."""
        tasks: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = self.call("GET", f"/api/tasks{cursor}")
            tasks += page["tasks"].values()
            if page["next_cursor"] is None:
                return tasks
            cursor = f"?cursor={page['next_cursor']}"

    def completed_tasks(self) -> int:
        """Return the number of the user's completed tasks."""
        return sum(task["status"] == "completed" for task in self.tasks())

    @property
    def process(self) -> psutil.Process:
        """The process of the server."""
        return psutil.Process(self._process.pid)

    def _is_busy(self) -> bool:
        answer = self.connection.send(encode_request("GET", "/metrics"))
        return _BUSY.search(answer.body) is not None

    def _read_address(self) -> tuple[str, int]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        found = _LISTENING.search(line)
        if found is None:
            log = (self._folder / "server.log").read_text(errors="replace")
            raise RuntimeError(f"the server did not start: {line}{log[-2000:]}")
        return found[1], int(found[2])

    def _sign_in(self) -> str:
        request = encode_request("POST", "/api/auth/token", body={"user_id": self.user_id})
        return str(self.connection.send(request).json()["access_token"])
