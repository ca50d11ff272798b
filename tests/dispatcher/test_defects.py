"""Tests that a defect in a background job of the dispatcher is reported and stays contained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest

from tests.fakes.e2b.control import E2BServerProcess
from tests.support.backends import Backend, Repository, open_backend, shell_agent
from tests.support.e2b.tasks import cloud_backend, ended, wait_until_none_alive
from tests.support.waiting import eventually
from utils.dispatcher.dispatcher import Dispatcher
from utils.errors import DatabaseUnavailable
from utils.sandboxes.e2b.provider import E2BSandboxProvider


def broken(*_arguments: object) -> None:
    raise RuntimeError("a defect of the test")


@contextmanager
def broken_dispatcher(backend: Backend) -> Iterator[Dispatcher]:
    """Break the dispatcher, which cancels the tasks that run in it."""
    dispatcher: Dispatcher = backend.app.extensions["services"].dispatcher
    # In this dispatcher only: others in this process may have tasks.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatcher, "_wait_for_runs", broken)
        dispatcher.begin_stop()
        yield dispatcher


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
        monkeypatch.setattr(dispatcher._source, "pop", broken)
        go.touch()
        client = backend.app.test_client()
        eventually(lambda: client.get("/health/ready").status_code == 503)
        answer = client.get("/health/ready").get_json()
        assert (answer["code"], answer["database"]["available"]) == ("unavailable", True)
        assert backend.status(task_id)["status"] == "completed"
        monkeypatch.undo()


def waiting_agent(backend: Backend, repository: Repository, go: Path) -> int:
    """Start a task whose agent waits for a file; return its id when the agent runs."""
    task_id = backend.start(
        f"echo begun; until [ -e {go} ]; do sleep 0.02; done; echo a >a", repository
    )
    eventually(lambda: "begun" in backend.output(task_id))
    return task_id


def test_an_agent_here_ends_with_the_dispatcher_and_runs_again_after_a_start(
    tmp_path: Path, small: Repository
) -> None:
    go, data = tmp_path / "go", tmp_path / "data"
    with shell_agent():
        with open_backend(data) as backend:
            task_id = waiting_agent(backend, small, go)
            with broken_dispatcher(backend) as dispatcher:
                eventually(lambda: not dispatcher.is_working)
            assert backend.place.processes(data) == []
            assert backend.sandboxes == []
        go.touch()
        with open_backend(data) as backend:
            row = backend.wait(task_id)
    assert (row["status"], row["changed_files"]) == ("completed", ["a"])


def test_an_agent_in_the_cloud_works_on_without_the_dispatcher_and_is_found_again(
    failing_cloud: E2BServerProcess, tmp_path: Path, small: Repository
) -> None:
    go, data = tmp_path / "go", tmp_path / "data"
    with shell_agent():
        with cloud_backend(failing_cloud, data) as backend:
            task_id = waiting_agent(backend, small, go)
            with broken_dispatcher(backend) as dispatcher:
                eventually(lambda: not dispatcher.is_working)
        go.touch()
        with cloud_backend(failing_cloud, data) as backend:
            row = ended(backend, task_id)
    assert (row["status"], row["changed_files"]) == ("completed", ["a"])
    assert wait_until_none_alive(failing_cloud)["created"] == 1


def test_a_result_survives_a_dispatcher_that_ends_while_the_database_is_away(
    tmp_path: Path, small: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go = Event(), Event()

    def refuse(*_arguments: object) -> None:
        asked.set()
        go.wait()
        raise DatabaseUnavailable("away")

    with shell_agent():
        with open_backend(tmp_path / "data") as backend:
            monkeypatch.setattr(backend.app.extensions["services"].database, "finish_task", refuse)
            task_id = backend.start("echo a >a", small)
            assert asked.wait(60)
            with broken_dispatcher(backend) as dispatcher:
                eventually(is_cancelled(dispatcher))
                go.set()
                eventually(lambda: not dispatcher.is_working)
        with open_backend(tmp_path / "data") as backend:
            row = backend.wait(task_id)
    assert (row["status"], row["changed_files"]) == ("completed", ["a"])
    assert row["execution_metadata"]["attempt"] == 1


def is_cancelled(dispatcher: Dispatcher) -> Callable[[], bool]:
    """Return a function that tells whether the running tasks were cancelled."""
    tasks = dispatcher._tasks
    assert tasks is not None
    return lambda: tasks.cancel_scope.cancel_called
