"""Runs the server as an operator does: in its own process, used over HTTP, really killed."""

from __future__ import annotations

import http.client
import json
import os
import re
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psutil
import psycopg

from tests.support.database.migrated import provide_database
from tests.support.places import LocalPlace, Place
from tests.support.preloaded import PreloadedProcess, start_preloaded
from tests.support.source_files import ROOT
from tests.support.waiting import eventually

WAIT_SECONDS = 180.0
PAUSE_SECONDS = 0.02
ENDED = ("completed", "failed", "cancelled")

AUTHORITY = ROOT / "tests" / "data" / "authority.pem"
"""The certificate of an authority that vouches for nobody, for programs that read one."""

SHARED = {"JWT_SECRET": "0123456789abcdef" * 2, "SECRET_KEY": "fedcba9876543210" * 2}
"""The keys that servers of one database share."""

Json = dict[str, Any]
Result = TypeVar("Result")


def is_alive(process: psutil.Process) -> bool:
    """Return True when a process runs. A zombie counts as ended."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class Answer(NamedTuple):
    """A response of the server; `body` is text if it is not JSON."""

    code: int
    body: Any
    headers: http.client.HTTPMessage


class Client:
    """A user with one keep-alive connection. For one thread at a time."""

    def __init__(self, port: int, user_id: str | None = None) -> None:
        self.user_id = user_id or str(uuid.uuid4())
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
        self._headers: dict[str, str] = {}
        answer = self.post("/auth/token", {"user_id": self.user_id})
        self._headers["Authorization"] = f"Bearer {answer.body['access_token']}"

    def get(self, path: str) -> Answer:
        return self._ask("GET", path, None)

    def post(self, path: str, body: Json | None = None) -> Answer:
        return self._ask("POST", path, json.dumps(body or {}).encode())

    def put(self, path: str, body: Json) -> Answer:
        return self._ask("PUT", path, json.dumps(body).encode())

    def start(self, prompt: str, repo_url: str, **more: Any) -> int:
        """Start a task and return its id."""
        answer = self.post("/start-task", {"prompt": prompt, "repo_url": repo_url, **more})
        assert answer.code == 200, answer
        return int(answer.body["task_id"])

    def status(self, task_id: int) -> Json:
        """Return the status row of a task."""
        answer = self.get(f"/task-status/{task_id}")
        assert answer.code == 200, answer
        task: Json = answer.body["task"]
        return task

    def task(self, task_id: int) -> Json:
        """Return the full row of a task."""
        task: Json = self.get(f"/tasks/{task_id}").body["task"]
        return task

    def wait_for(self, task_id: int, *wanted: str) -> Json:
        """Wait until a task has one of these statuses or stages, or has ended if none is given."""

        def there() -> Json | None:
            task = self.status(task_id)
            found = {task["status"], task.get("stage")} & set(wanted or ENDED)
            assert found or task["status"] not in ENDED, task
            return task if found else None

        return eventually(there)

    def events(self, task_id: int) -> list[Json]:
        """Return the events of a task."""
        events: list[Json] = self.get(f"/tasks/{task_id}/events").body["events"]
        return events

    def wait_for_output(self, task_id: int, text: str) -> None:
        """Wait until the agent of a task has printed a text."""
        eventually(lambda: text in str(self.get(f"/tasks/{task_id}/events").body))

    def close(self) -> None:
        self._connection.close()

    def _ask(self, method: str, path: str, body: bytes | None) -> Answer:
        headers = {**self._headers, "Content-Type": "application/json"}
        self._connection.request(method, f"/api{path}", body, headers)
        response = self._connection.getresponse()
        text = response.read().decode()
        is_json = response.headers.get_content_type() == "application/json"
        return Answer(response.status, json.loads(text) if is_json else text, response.headers)


class LiveServer:
    """Runs `python main.py` on a free port with its own folder. It can be started repeatedly."""

    arguments: tuple[str, ...] = ()

    def __init__(self, folder: Path, place: Place | None = None, **settings: object) -> None:
        self.place: Place = place or LocalPlace()
        self.data_dir = folder / "data"
        self.temporary = folder / "tmp"
        self.output = folder / "output"
        self.port = 0
        self.source = ROOT
        self._folder = folder
        self._settings: dict[str, object] = {
            "MAX_CONCURRENT_TASKS": 4,
            **self.place.environment,
            **settings,
        }
        self._process: PreloadedProcess | None = None
        self._clients: list[Client] = []
        self.temporary.mkdir(parents=True)

    @property
    def process(self) -> psutil.Process:
        """The process of the server."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def start(self, **settings: object) -> None:
        """Start the server and wait until it is ready."""
        self.launch(**settings)
        self.wait_until_ready()

    def launch(self, **settings: object) -> None:
        """Start the server without waiting."""
        self._settings |= settings
        if self.source == ROOT and not {"DATABASE_URL", "SUPABASE_URL"} & self._settings.keys():
            # A folder that cannot be used is for the server to refuse.
            with suppress(OSError):
                provide_database(self.data_dir)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "TMPDIR": str(self.temporary),
            "DATA_DIR": str(self.data_dir),
            "PORT": "0",
            "SSL_CERT_FILE": str(AUTHORITY),
            "WORKSPACE_TTL_SECONDS": "0",
            **{name: str(value) for name, value in self._settings.items()},
        }
        with self.output.open("w") as output:
            self._process = start_preloaded(
                [str(self.source / "main.py"), *self.arguments],
                cwd=self._folder,
                env=environment,
                output=output.fileno(),
                start_new_session=True,
                is_elsewhere=self.source != ROOT,
            )

    def wait_until_ready(self) -> None:
        """Wait for the line with the port, then until the server reports that it is ready."""

        def announced() -> re.Match[str] | None:
            assert self._process is not None
            assert self._process.poll() is None, self.output.read_text()
            return re.search(r"Listening on http://127\.0\.0\.1:(\d+)", self.output.read_text())

        self.port = int(eventually(announced)[1])
        client = self.client()
        eventually(lambda: client.get("/health/ready").code == 200)

    def client(self, user_id: str | None = None) -> Client:
        """Sign a user in; return its client."""
        client = Client(self.port, user_id)
        self._clients.append(client)
        return client

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """Stop its process during the block: it takes no tasks and sends no beats."""
        process = self.process
        process.suspend()
        try:
            yield
        finally:
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def kill(self) -> None:
        """Kill the server with SIGKILL. Its child processes have their own sessions."""
        assert self._process is not None
        self._process.kill_group()
        self._forget()

    def terminate(self) -> int:
        """Stop the server as an operator does; return its exit code."""
        assert self._process is not None
        # The server keeps idle connections open for some seconds.
        self._close_clients()
        self._process.terminate()
        return self.wait()

    def wait(self) -> int:
        """Wait until the server has ended; return its exit code."""
        assert self._process is not None
        code = self._process.wait(WAIT_SECONDS)
        self._forget()
        return code

    def stop(self) -> None:
        """End the server and everything that it started."""
        if self._process is not None:
            self.kill()
        self.place.clear(self.data_dir)

    def sandbox_processes(self) -> list[psutil.Process]:
        """Return the running processes of this server's sandboxes."""
        return self.place.processes(self.data_dir)

    def sandboxes(self) -> list[str]:
        """Return the names of the existing sandboxes."""
        return [sandbox.name for sandbox in self.place.sandboxes(self.data_dir)]

    def _forget(self) -> None:
        assert self._process is not None
        self._process.wait(WAIT_SECONDS)
        self._process = None
        self._close_clients()

    def _close_clients(self) -> None:
        while self._clients:
            self._clients.pop().close()


class LiveWorker(LiveServer):
    """Runs `python main.py worker` with its own folder."""

    arguments = ("worker",)

    def wait_until_ready(self) -> None:
        """Wait for the line that says so."""

        def announced() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, self.output.read_text()
            return "Working (version" in self.output.read_text()

        eventually(announced)


ServerFactory = Callable[..., LiveServer]
WorkerFactory = Callable[..., LiveWorker]


def shorten_sleeps(server: LiveServer, seconds: int) -> None:
    """Remove a sleep of this length from the prompts of a stopped server's tasks."""
    with closing(sqlite3.connect(server.data_dir / "async-code.db", 60)) as connection:
        changed = "UPDATE tasks SET chat_messages = replace(chat_messages, ?, 'sleep 0')"
        connection.execute(changed, (f"sleep {seconds}",))
        connection.commit()


def replace_in_prompts(database_url: str, before: str, after: str) -> None:
    """Replace a text in the prompts of all tasks of a PostgreSQL, for their next attempt."""
    changed = "UPDATE tasks SET chat_messages = replace(chat_messages::text, %s, %s)::jsonb"
    with psycopg.connect(database_url) as rows:
        rows.execute(changed, (before, after))
