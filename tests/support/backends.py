"""Provides backends with a real database, test repositories, and an agent that is a shell."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from main import create_app, stop_app
from tests.support.database.migrated import provide_tables
from tests.support.places import Found, LocalPlace, Place
from tests.support.suite.declared_codes import refuse_undeclared_codes
from tests.support.suite.event_forms import refuse_odd_events
from tests.support.waiting import eventually
from utils.agents.scripted import ScriptedReader
from utils.agents.spec import AgentRequest, AgentSpec
from utils.config.settings import Settings
from utils.dispatcher.dispatcher import Dispatcher
from utils.sandboxes.protocol import SandboxPaths

USER = "00000000-0000-4000-8000-00000000000a"
ENDED = ("completed", "failed", "cancelled")
WAIT_SECONDS = 180

# Nothing of the person who runs the tests shapes what git does in them.
GIT_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "LC_ALL": "C",
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "Tester",
    "GIT_AUTHOR_EMAIL": "tester@example.org",
    "GIT_COMMITTER_NAME": "Tester",
    "GIT_COMMITTER_EMAIL": "tester@example.org",
    # Examples of hooks, which are more files than most of these repositories have.
    "GIT_TEMPLATE_DIR": "",
    # Each commit and each patch would start two more processes, which find nothing to do.
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "maintenance.auto",
    "GIT_CONFIG_VALUE_0": "false",
}

Row = dict[str, Any]


def run(
    arguments: list[str], folder: Path, stdin: bytes = b"", environment: Mapping[str, str] = {}
) -> bytes:
    """Run a command that must succeed; return its output."""
    result = subprocess.run(
        arguments,
        cwd=folder,
        input=stdin,
        env={**GIT_ENVIRONMENT, **environment},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, (arguments, result.stderr.decode(errors="replace"))
    return result.stdout


def git(folder: Path, *arguments: str, stdin: bytes = b"") -> str:
    """Run git in a folder; return its output without the last newline."""
    return run(["git", *arguments], folder, stdin).decode(errors="replace").rstrip("\n")


class Repository:
    """A repository on disk that tasks clone from."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        git(folder, "init", "--quiet", "--initial-branch=main", *options)

    @property
    def url(self) -> str:
        return f"file://{self.folder}"

    @property
    def head(self) -> str:
        return git(self.folder, "rev-parse", "HEAD")

    def run(self, script: str) -> None:
        """Run a shell script in the working tree."""
        run(["sh", "-c", script], self.folder)

    def commit(self, script: str, message: str = "Change") -> str:
        """Run a script and commit all its changes; return the commit."""
        self.run(script)
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "--quiet", "--allow-empty", "--message", message)
        return self.head

    def clone(self, folder: Path) -> Path:
        """Return a fresh clone."""
        git(self.folder, "clone", "--quiet", "--", ".", str(folder))
        return folder


class Backend:
    """An application with a client, its data folder, and the place its tasks run in."""

    def __init__(self, app: Flask, folder: Path, place: Place) -> None:
        self.app = app
        self.folder = folder
        self.place = place
        self._client = app.test_client()

    def post(self, path: str, **body: Any) -> Row:
        """Send a POST request, with `idempotency_key` as a header; return any response."""
        key = body.pop("idempotency_key", None)
        more = {} if key is None else {"Idempotency-Key": key}
        response = self._client.post(
            path,
            data=json.dumps(body, ensure_ascii=False).encode(),
            content_type="application/json",
            headers={"X-User-ID": USER, **more},
        )
        return {**response.get_json(), "http_status": response.status_code}

    def delete(self, path: str) -> Row:
        """Send a DELETE request; return any response."""
        response = self._client.delete(path, headers={"X-User-ID": USER})
        return {**response.get_json(), "http_status": response.status_code}

    def get(self, path: str) -> Row:
        """Send a GET request that must succeed; return the response."""
        response = self._client.get(path, headers={"X-User-ID": USER})
        assert response.status_code == 200, response.get_data()
        answer: Row = response.get_json()
        return answer

    def start(self, prompt: str, repository: Repository | str, **body: Any) -> int:
        """Start a task; return its id."""
        url = repository if isinstance(repository, str) else repository.url
        answer = self.post("/start-task", prompt=prompt, repo_url=url, **body)
        assert answer["http_status"] == 200, answer
        return int(answer["task_id"])

    def status(self, task_id: int) -> Row:
        """Return the status row of a task."""
        row: Row = self.get(f"/task-status/{task_id}")["task"]
        return row

    def wait(self, task_id: int) -> Row:
        """Wait until a task has ended and its sandbox is gone; return the task's row."""
        dispatcher: Dispatcher = self.app.extensions["services"].dispatcher
        # Each request would take time from the task.
        eventually(lambda: dispatcher.queue_position(task_id) is None)
        eventually(lambda: not dispatcher.has_run(task_id))
        eventually(lambda: self.status(task_id)["status"] in ENDED)
        eventually(lambda: all(one.task_id != task_id for one in self.sandboxes))
        row: Row = self.get(f"/tasks/{task_id}")["task"]
        return row

    def perform(self, prompt: str, repository: Repository | str, **body: Any) -> Row:
        """Run a task until it ends; return its row."""
        return self.wait(self.start(prompt, repository, **body))

    def complete(self, prompt: str, repository: Repository | str, **body: Any) -> Row:
        """Run a task that must complete; return its row."""
        row = self.perform(prompt, repository, **body)
        assert row["status"] == "completed", (row["error"], self.output(row["id"]))
        return row

    def patch(self, task_id: int) -> bytes:
        """Return the body of the response to a request for a task's patch."""
        response = self._client.get(f"/tasks/{task_id}/patch", headers={"X-User-ID": USER})
        assert response.status_code == 200, response.get_data()
        return response.get_data()

    def events(self, task_id: int) -> list[Row]:
        """Return all events of a task."""
        events: list[Row] = []
        while page := self.get(f"/tasks/{task_id}/events?after={_last(events)}&limit=1000"):
            if not page["events"]:
                return events
            events += page["events"]
        return events

    def output(self, task_id: int, stream: str = "stdout") -> str:
        """Return the output of a task's agent."""
        outputs = (event["data"] for event in self.events(task_id) if event["kind"] == "output")
        return "".join(data["text"] for data in outputs if data["stream"] == stream)

    @property
    def sandboxes(self) -> list[Found]:
        """The sandboxes that exist."""
        return self.place.sandboxes(self.folder)


Open = Callable[..., Backend]
"""Opens a backend with the given settings; see the fixture `open_with`."""


def _last(events: list[Row]) -> int:
    return int(events[-1]["sequence"]) if events else 0


@contextmanager
def open_backend(folder: Path, place: Place | None = None, **settings: Any) -> Iterator[Backend]:
    """Open a backend with its data below a folder; by default its tasks run in local folders."""
    where: Place = place or LocalPlace()
    # Most tests expect that nothing is left of a task that has ended.
    usual = {"log_level": "WARNING", "max_concurrent_tasks": 2, "workspace_ttl_seconds": 0}
    values = {**usual, **where.settings, **settings}
    chosen = Settings.model_validate({**values, "data_dir": folder})
    provide_tables(chosen)
    app = create_app(chosen)
    refuse_undeclared_codes(app)
    refuse_odd_events(app)
    try:
        yield Backend(app, folder, where)
    finally:
        stop_app(app)


def _shell_command(paths: SandboxPaths, _request: AgentRequest) -> list[str]:
    return ["sh", f"{paths.work}/prompt"]


SHELL_AGENT = AgentSpec("shell", _shell_command, ScriptedReader, simulated=True)
"""Runs the prompt as a shell script, so that tests can do anything a real agent could do."""


@contextmanager
def shell_agent(agent: AgentSpec = SHELL_AGENT) -> Iterator[None]:
    """Replace the agent of every task by a shell until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("utils.agents.registry.scripted_agent", lambda **_: agent)
        yield
