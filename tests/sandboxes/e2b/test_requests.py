"""The number and the content of the requests to the cloud for a task."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.e2b.control import E2BServerProcess
from tests.support.backends import USER, Backend, Repository, Row
from tests.support.e2b.tasks import cloud_backend, ended, wait_until_none_alive
from utils.sandboxes.e2b import lease

MOST_REQUESTS = 7
QUIET = "script:\nwrite a.txt a"


def asked(cloud: E2BServerProcess) -> list[Row]:
    """Return the requests for tasks; the sweep's are not."""
    wait_until_none_alive(cloud)
    return [request for request in cloud.requests() if request["route"] != "list"]


def created(cloud: E2BServerProcess) -> Row:
    """Return what the last sandbox was asked for with."""
    body: Row = json.loads(cloud.requests("create")[-1]["body"])
    return body


def test_a_task_without_output_takes_few_requests(
    failing_cloud: E2BServerProcess, tmp_path: Path, small: Repository
) -> None:
    with cloud_backend(failing_cloud, tmp_path) as backend:
        # The first sandbox of a template is asked for the version of its daemon.
        backend.complete(QUIET, small, branch="main")
        assert len(asked(failing_cloud)) <= MOST_REQUESTS
        failing_cloud.forget_requests()
        backend.complete(QUIET, small, branch="main")
        routes = [request["route"] for request in asked(failing_cloud)]
    start = "process.Start"
    assert {*routes[1:3]} == {"files.write", start}
    assert [routes[0], *routes[3:]] == ["create", start, start, "kill"]


def test_several_repositories_are_cloned_into_folders_that_are_there(
    failing_cloud: E2BServerProcess, tmp_path: Path, small: Repository
) -> None:
    failing_cloud.add_fault("delay", route="files.write", seconds=1)
    second = Repository(tmp_path / "second")
    second.commit("echo two >two.txt")
    with cloud_backend(failing_cloud, tmp_path) as backend:
        wanted = [{"repo_url": second.url}]
        backend.complete("Say hello", small, repositories=wanted)


def test_a_sandbox_knows_whose_it_is_and_when_it_ends(
    failing_cloud: E2BServerProcess, tmp_path: Path, small: Repository
) -> None:
    limits = {"sandbox_timeout_seconds": 200, "command_timeout_seconds": 10}
    with cloud_backend(failing_cloud, tmp_path, deployment="blue", **limits) as backend:
        task = backend.complete(QUIET, small)
    marks = {"app": "async-code", "deployment": "blue", "task_id": str(task["id"])}
    assert created(failing_cloud)["metadata"] == {**marks, "user_id": USER}
    # Clone and agent, and then the capture with its passes.
    assert created(failing_cloud)["timeout"] == 240
    assert created(failing_cloud)["autoPause"] is False
    (request,) = failing_cloud.requests("create")
    assert request["headers"]["idempotency-key"]
    assert task["container_id"] == request_sandbox(failing_cloud)


def request_sandbox(cloud: E2BServerProcess) -> str:
    """Return the id of the only sandbox there was."""
    (sandbox,) = {request["sandbox"] for request in cloud.requests("files.write")}
    return str(sandbox)


def test_a_project_has_a_template_of_its_own(
    failing_cloud: E2BServerProcess, tmp_path: Path, small: Repository
) -> None:
    failing_cloud.configure(templates=["async-code", "with-java"])
    with cloud_backend(failing_cloud, tmp_path) as backend:
        plain = project(backend, "plain", {})
        java = project(backend, "java", {"template_id": "with-java"})
        backend.complete(QUIET, small, project_id=plain)
        assert created(failing_cloud)["templateID"] == "async-code"
        backend.complete(QUIET, small, project_id=java)
        assert created(failing_cloud)["templateID"] == "with-java"


def project(backend: Backend, name: str, settings: Row) -> int:
    """Add a project; return its number."""
    url = f"https://github.com/octo/{name}"
    answer = backend.post("/projects", name=name, repo_url=url, settings=settings)
    assert answer["http_status"] == 200, answer
    return int(answer["project"]["id"])


@pytest.mark.parametrize("refusal", [None, 503, 403])
def test_a_sandbox_lives_as_long_as_its_task(
    failing_cloud: E2BServerProcess,
    tmp_path: Path,
    small: Repository,
    monkeypatch: pytest.MonkeyPatch,
    refusal: int | None,
) -> None:
    if refusal:
        failing_cloud.add_fault("status", route="set_timeout", status=refusal, times=1)
    # As with a plan that allows no sandbox for longer at once.
    monkeypatch.setattr(lease, "LONGEST_LEASE_SECONDS", 8)
    with cloud_backend(failing_cloud, tmp_path) as backend:
        backend.complete("script:\nsleep 10\nwrite a.txt a", small)
    assert created(failing_cloud)["timeout"] == 8
    extended = failing_cloud.requests("set_timeout")
    assert len(extended) > 1 + bool(refusal)
    # At first it is asked whether the plan allows the whole time.
    first, *others = (json.loads(request["body"])["timeout"] for request in extended)
    assert first == 720
    assert set(others) - {first} == {8}


def test_a_poll_has_the_row_of_an_ended_task_while_its_sandbox_is_still_being_ended(
    failing_cloud: E2BServerProcess, tmp_path: Path, small: Repository
) -> None:
    with cloud_backend(failing_cloud, tmp_path) as backend:
        failing_cloud.add_fault("delay", route="kill", times=1, seconds=2)
        task_id = backend.start(QUIET, small)
        ended(backend, task_id)
        client, address = backend.app.test_client(), f"/task-status/{task_id}"
        etag = client.get(address, headers={"X-User-ID": USER}).headers["ETag"]
        asking = {"X-User-ID": USER, "If-None-Match": etag}
        assert client.get(address, headers=asking).status_code == 304
        backend.wait(task_id)
        assert client.get(address, headers=asking).status_code == 304
