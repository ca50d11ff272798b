"""Tests that a defect in a background job of the dispatcher is reported and stays contained."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.e2b.control import E2BServerProcess
from tests.support.backends import Repository, open_backend, shell_agent
from tests.support.e2b.tasks import cloud_backend, ended, wait_until_none_alive
from tests.support.waiting import eventually
from utils.dispatcher.dispatcher import Dispatcher
from utils.sandboxes.e2b.provider import E2BSandboxProvider


def broken(*_arguments: object) -> None:
    raise RuntimeError("a defect of the test")


def test_a_sweep_that_breaks_stops_no_task(
    failing_cloud: E2BServerProcess,
    tmp_path: Path,
    small: Repository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweeps: list[object] = []

    async def sweep(self: object, _known: object) -> None:
        sweeps.append(self)
        broken()

    monkeypatch.setattr(E2BSandboxProvider, "sweep", sweep)
    with cloud_backend(failing_cloud, tmp_path, sweep_grace_seconds=0.5) as backend:
        eventually(lambda: sweeps)
        task_id = backend.start("script:\nprint hello", small)
        assert ended(backend, task_id)["status"] == "completed"
        before = len(sweeps)
        eventually(lambda: len(sweeps) > before)
        assert backend.get("/health/ready")["status"] == "success"
    wait_until_none_alive(failing_cloud)


def test_a_server_whose_dispatcher_has_ended_is_not_ready(
    tmp_path: Path, small: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = tmp_path / "go"
    with shell_agent(), open_backend(tmp_path / "data") as backend:
        task_id = backend.start(f"echo begun; until [ -e {go} ]; do sleep 0.02; done", small)
        eventually(lambda: "begun" in backend.output(task_id))
        # In this dispatcher only: others in this process may have tasks.
        dispatcher: Dispatcher = backend.app.extensions["services"].dispatcher
        monkeypatch.setattr(dispatcher._queue, "pop", broken)
        go.touch()
        client = backend.app.test_client()
        eventually(lambda: client.get("/health/ready").status_code == 503)
        answer = client.get("/health/ready").get_json()
        assert (answer["code"], answer["database"]["available"]) == ("unavailable", True)
        assert backend.status(task_id)["status"] == "completed"
        monkeypatch.undo()
