"""Tests that nothing blocks the event loop while tasks run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from flask import Flask
from flask.testing import FlaskClient

from main import create_app, stop_app
from tests.support.git.repositories import serve_repository
from tests.support.live_server import ENDED, Json
from tests.support.places import Place
from tests.support.waiting import eventually
from utils.config.settings import Settings

USER = {"X-User-ID": "5a0a5b0e-6c0d-4a58-9d3e-0f5c6a7b8c9d"}


@pytest.fixture
def guard() -> Iterator[BlockBuster]:
    """Raise an error on every blocking call on an event loop."""
    with blockbuster_ctx() as guard:
        yield guard


@pytest.fixture
def guarded_app(guard: BlockBuster, place: Place, tmp_path: Path) -> Iterator[Flask]:
    app = create_app(Settings.model_validate({**place.settings, "data_dir": tmp_path / "data"}))
    yield app
    stop_app(app)


@pytest.fixture
def impatient_app(guard: BlockBuster, place: Place, tmp_path: Path) -> Iterator[Flask]:
    """Provide an application with an agent timeout of one second."""
    settings = {**place.settings, "data_dir": tmp_path / "impatient", "agent_timeout_seconds": 1}
    app = create_app(Settings.model_validate(settings))
    yield app
    stop_app(app)


def start(client: FlaskClient, prompt: str, repo_url: str) -> int:
    body = {"prompt": prompt, "repo_url": repo_url}
    return int(client.post("/start-task", json=body, headers=USER).get_json()["task_id"])


def wait_for(client: FlaskClient, task_id: int, *wanted: str) -> Json:
    def there() -> Json | None:
        answer = client.get(f"/task-status/{task_id}", headers=USER).get_json()
        task: Json = answer["task"]
        return task if {task["status"], task.get("stage")} & set(wanted or ENDED) else None

    return eventually(there)


@pytest.mark.isolated_with_all("what a sandbox shows is looked for on the disk")
def test_tasks_of_every_kind_run_without_a_blocking_call(
    guarded_app: Flask,
    impatient_app: Flask,
    small_repository: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    client = guarded_app.test_client()
    many = "\n".join(f"write file-{number} \\0351" for number in range(50))
    with serve_repository(Path(small_repository), tmp_path / "served") as git_server:
        git_server.gate.set()
        ends = [
            wait_for(client, start(client, prompt, url))["status"]
            for url in (small_repository, git_server.url, git_server.url)
            for prompt in ("Quick", f"script:\noutput 200000\n{many}", "script:\nfail 3")
        ]
    assert ends == ["completed", "completed", "failed"] * 3
    impatient = impatient_app.test_client()
    slow = start(impatient, "script:\nsleep 300", small_repository)
    assert wait_for(impatient, slow)["error_code"] == "agent_timeout"
    cancelled = start(client, "script:\nsleep 300", small_repository)
    wait_for(client, cancelled, "agent")
    assert client.post(f"/tasks/{cancelled}/cancel", headers=USER).status_code == 200
    assert "BlockingError" not in capfd.readouterr().err


def test_the_guard_notices_a_blocking_call(guarded_app: Flask) -> None:
    async def block() -> None:
        time.sleep(0.001)  # noqa: ASYNC251

    bridge = guarded_app.extensions["services"].dispatcher._bridge
    with pytest.raises(Exception, match=r"Blocking call to time\.sleep"):
        bridge.run(block)
