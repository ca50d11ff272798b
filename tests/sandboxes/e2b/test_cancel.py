"""Tests cancelling tasks in the cloud: the sandbox is ended at once, and the changes are stored.

The requests to the cloud show how fast: after a cancel only the changes are read and the sandbox is
killed, and the caller gets the response when the sandbox no longer exists.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.fakes.e2b.control import E2BServerProcess
from tests.support.backends import USER, Backend, Repository, Row
from tests.support.e2b.tasks import LARGE_FILE, cloud_backend, ended, wait_until_none_alive
from tests.support.git.server import GitServer
from tests.support.waiting import eventually
from utils.dispatcher import cancellation
from utils.models.tasks import NewTask, TaskStatus
from utils.pipeline.stop_request import CANCELLED_CAPTURE_SECONDS
from utils.sandboxes.e2b import sandbox as sandbox_e2b

SLEEPS = "script:\nwrite made.txt half\\n\nprint it sleeps\nsleep 300"
HANGS_SECONDS = 60


@pytest.fixture
def backend_in_cloud(
    failing_cloud: E2BServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    with cloud_backend(
        failing_cloud, tmp_path_factory.mktemp("data"), max_concurrent_tasks=6
    ) as backend:
        yield backend


def cancel(backend: Backend, task_id: int) -> Row:
    answer = backend.post(f"/tasks/{task_id}/cancel")
    assert (answer["http_status"], answer["task"]["status"]) == (200, "cancelled"), answer
    return answer


def routes(cloud: E2BServerProcess) -> list[str]:
    return [request["route"] for request in cloud.requests() if request["route"] != "list"]


def check_cancelled(backend: Backend, task_id: int, stage: str) -> Row:
    """Assert that no later event changes the final status of a task."""
    eventually(lambda: not backend.get("/health/ready")["running"])
    task = ended(backend, task_id)
    assert (task["status"], task["error_code"]) == ("cancelled", "cancelled")
    assert task["error_stage"] == stage
    kinds = [event["kind"] for event in backend.events(task_id)]
    assert kinds.count("error") == 1
    return task


def start_asleep(backend: Backend, repository: Repository) -> int:
    task_id = backend.start(SLEEPS, repository)
    eventually(lambda: "it sleeps" in backend.output(task_id))
    return task_id


def test_a_cancelled_agent_is_gone_with_its_sandbox_when_the_answer_comes(
    backend_in_cloud: Backend,
    failing_cloud: E2BServerProcess,
    small: Repository,
    patient_capture: None,
) -> None:
    task_id = start_asleep(backend_in_cloud, small)
    failing_cloud.forget_requests()
    cancel(backend_in_cloud, task_id)
    assert failing_cloud.stats()["sandboxes"]["alive"] == 0
    assert routes(failing_cloud) == ["process.Start", "kill"]
    task = check_cancelled(backend_in_cloud, task_id, "agent")
    assert (task["changed_files"], "+half" in task["git_diff"]) == (["made.txt"], True)


def test_a_cancel_waits_for_no_sandbox_that_is_slow_to_come(
    backend_in_cloud: Backend, failing_cloud: E2BServerProcess, small: Repository
) -> None:
    failing_cloud.add_fault("delay", route="create", seconds=3.0)
    task_id = backend_in_cloud.start(SLEEPS, small)
    eventually(lambda: routes(failing_cloud) == ["create"])
    cancel(backend_in_cloud, task_id)
    assert routes(failing_cloud) == ["create"]
    assert check_cancelled(backend_in_cloud, task_id, "cloning")["git_diff"] is None
    # A sandbox that is opened anyway is ended at once, without any other request.
    eventually(lambda: "kill" in routes(failing_cloud))
    assert wait_until_none_alive(failing_cloud)["created"] == 1
    assert routes(failing_cloud) == ["create", "kill"]


def test_a_create_is_not_tried_again_for_a_cancelled_task(
    backend_in_cloud: Backend, failing_cloud: E2BServerProcess, small: Repository
) -> None:
    failing_cloud.add_fault("status", route="create", status=503)
    task_id = backend_in_cloud.start(SLEEPS, small)
    eventually(lambda: "create" in routes(failing_cloud))
    cancel(backend_in_cloud, task_id)
    asked = len(failing_cloud.requests("create"))
    failing_cloud.remove_faults()
    other = backend_in_cloud.start("script:\nprint hello", small)
    assert ended(backend_in_cloud, other)["status"] == "completed"
    assert len(failing_cloud.requests("create")) <= asked + 2
    assert wait_until_none_alive(failing_cloud)["created"] <= 2


def test_a_clone_that_hangs_is_ended_with_its_sandbox(
    backend_in_cloud: Backend,
    failing_cloud: E2BServerProcess,
    small: Repository,
    git_server: GitServer,
) -> None:
    url = git_server.publish(small, "hanging")
    git_server.hanging.add("hanging")
    task_id = backend_in_cloud.start(SLEEPS, url)
    eventually(lambda: failing_cloud.stats()["processes"])
    failing_cloud.forget_requests()
    cancel(backend_in_cloud, task_id)
    assert routes(failing_cloud) == ["kill"]
    assert failing_cloud.stats()["sandboxes"]["alive"] == 0
    assert check_cancelled(backend_in_cloud, task_id, "cloning")["git_diff"] is None


@pytest.mark.parametrize("route", ["files.write", "process.Start", "files.read"])
def test_a_cancel_does_not_wait_for_a_request_that_hangs(
    backend_in_cloud: Backend, failing_cloud: E2BServerProcess, small: Repository, route: str
) -> None:
    skip = {"files.write": 0, "process.Start": 2, "files.read": 0}[route]
    failing_cloud.add_fault("delay", route=route, skip=skip, seconds=HANGS_SECONDS)
    task_id = backend_in_cloud.start(f"script:\n{LARGE_FILE}", small, branch="main")
    eventually(lambda: len(failing_cloud.requests(route)) == skip + 1)
    started = time.monotonic()
    cancel(backend_in_cloud, task_id)
    assert time.monotonic() - started < HANGS_SECONDS / 2
    assert failing_cloud.stats()["sandboxes"]["alive"] == 0
    check_cancelled(backend_in_cloud, task_id, "cloning" if route == "files.write" else "capturing")


def test_an_agent_waits_for_its_files_which_are_written_beside_the_clone(
    backend_in_cloud: Backend, failing_cloud: E2BServerProcess, small: Repository
) -> None:
    failing_cloud.add_fault("delay", route="files.write", seconds=HANGS_SECONDS)
    task_id = backend_in_cloud.start("script:\nwrite made.txt half\\n", small, branch="main")
    commands = partial(failing_cloud.requests, "process.Start")
    eventually(lambda: [one["status"] for one in commands()] == [200])
    cancel(backend_in_cloud, task_id)
    check_cancelled(backend_in_cloud, task_id, "cloning")
    assert len(commands()) == 1
    assert "git" not in [event["kind"] for event in backend_in_cloud.events(task_id)]


def test_a_cancel_that_comes_when_the_sandbox_is_being_closed_comes_too_late(
    backend_in_cloud: Backend, failing_cloud: E2BServerProcess, small: Repository
) -> None:
    number = failing_cloud.add_fault("status", route="kill", status=503)
    task_id = backend_in_cloud.start("script:\nwrite made.txt whole\\n", small)
    eventually(lambda: "kill" in routes(failing_cloud))
    answer = backend_in_cloud.post(f"/tasks/{task_id}/cancel")
    failing_cloud.remove_faults(number)
    assert (answer["http_status"], answer["code"]) == (409, "task_already_ended")
    task = ended(backend_in_cloud, task_id)
    assert (task["status"], task["changed_files"]) == ("completed", ["made.txt"])
    wait_until_none_alive(failing_cloud)


def test_a_cancel_does_not_wait_for_ever_for_a_kill_that_hangs(
    backend_in_cloud: Backend,
    failing_cloud: E2BServerProcess,
    small: Repository,
    patient_capture: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cancellation, "CANCEL_SECONDS", 3.5)
    monkeypatch.setattr(sandbox_e2b, "REQUEST_SECONDS", 4.0)
    task_id = start_asleep(backend_in_cloud, small)
    number = failing_cloud.add_fault("delay", route="kill", seconds=HANGS_SECONDS)
    cancel(backend_in_cloud, task_id)
    assert failing_cloud.stats()["sandboxes"]["alive"] == 1
    failing_cloud.remove_faults(number)
    assert wait_until_none_alive(failing_cloud)["killed"] == 1
    assert check_cancelled(backend_in_cloud, task_id, "agent")["changed_files"] == ["made.txt"]


def test_a_cancel_that_is_still_under_way_is_answered_with_the_running_task(
    backend_in_cloud: Backend,
    failing_cloud: E2BServerProcess,
    small: Repository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cancellation, "CANCEL_SECONDS", 0.2)
    task_id = start_asleep(backend_in_cloud, small)
    failing_cloud.add_fault("delay", route="process.Start", seconds=HANGS_SECONDS)
    for _ in range(2):
        answer = backend_in_cloud.post(f"/tasks/{task_id}/cancel")
        assert (answer["http_status"], answer["task"]["status"]) == (200, "running"), answer
    check_cancelled(backend_in_cloud, task_id, "agent")


def test_a_running_task_that_nobody_runs_here_is_not_reported_as_ended(
    backend_in_cloud: Backend, small: Repository
) -> None:
    database = backend_in_cloud.app.extensions["services"].database
    database.ensure_user(USER)
    new = NewTask("Lost", small.url, "main", "scripted", None, None, None)
    task = database.create_task(USER, new)
    database.move_task(task.id, {TaskStatus.PENDING}, TaskStatus.RUNNING)
    answer = backend_in_cloud.post(f"/tasks/{task.id}/cancel")
    assert (answer["http_status"], answer["code"]) == (409, "task_not_here")
    assert "restarted" in answer["error"]
    assert backend_in_cloud.status(task.id)["status"] == "running"


def test_a_cancel_takes_little_more_than_the_capture_may_and_a_kill(
    backend_in_cloud: Backend, failing_cloud: E2BServerProcess, small: Repository
) -> None:
    def is_quick() -> bool:
        quick = start_asleep(backend_in_cloud, small)
        started = time.monotonic()
        cancel(backend_in_cloud, quick)
        undisturbed = time.monotonic() - started
        task_id = start_asleep(backend_in_cloud, small)
        failing_cloud.set_envd(failing_cloud.sandboxes()[0]["sandboxID"], up=False)
        started = time.monotonic()
        cancel(backend_in_cloud, task_id)
        seconds = time.monotonic() - started
        assert failing_cloud.stats()["sandboxes"]["alive"] == 0
        assert check_cancelled(backend_in_cloud, task_id, "agent")["git_diff"] is None
        # The sandbox does not respond to the capture, and the cancel does not wait for it.
        return seconds < CANCELLED_CAPTURE_SECONDS + 5 * undisturbed

    # There may be more than one on a busy machine.
    assert any(is_quick() for _ in range(3))


def test_a_project_is_deleted_with_its_running_tasks_and_their_sandboxes(
    backend_in_cloud: Backend, failing_cloud: E2BServerProcess, small: Repository
) -> None:
    made = backend_in_cloud.post("/projects", name="Doomed", repo_url=small.url)
    project_id = made["project"]["id"]
    tasks = [backend_in_cloud.start(SLEEPS, small, project_id=project_id) for _ in range(8)]
    eventually(lambda: "it sleeps" in backend_in_cloud.output(tasks[0]))
    client = backend_in_cloud.app.test_client()
    answer = client.delete(f"/projects/{project_id}", headers={"X-User-ID": USER})
    assert answer.status_code == 200, answer.get_data()
    wait_until_none_alive(failing_cloud)
    health = backend_in_cloud.get("/health/ready")
    assert (health["queued"], health["running"]) == (0, 0)


@pytest.mark.parametrize(
    "limit", [pytest.param(None, marks=pytest.mark.exhaustive("a limit adds to it")), 2]
)
def test_cancels_at_any_moment_leave_no_sandbox_and_one_truth(
    backend_in_cloud: Backend, failing_cloud: E2BServerProcess, small: Repository, limit: int | None
) -> None:
    # With a limit, tasks are sometimes queued again, also while they are cancelled.
    failing_cloud.configure(max_concurrent=limit)

    def one(step: int) -> tuple[int, str]:
        task_id = backend_in_cloud.start(f"script:\nprint task {step}", small)
        time.sleep(step * 0.05)
        answer = backend_in_cloud.post(f"/tasks/{task_id}/cancel")
        codes = {200: None, 409: "task_already_ended"}
        assert answer.get("code") == codes[answer["http_status"]], answer
        return task_id, "cancelled" if answer["http_status"] == 200 else "completed"

    with ThreadPoolExecutor(4) as pool:
        answered = dict(pool.map(one, range(20)))
    wait_until_none_alive(failing_cloud)
    for task_id, status in answered.items():
        assert ended(backend_in_cloud, task_id)["status"] == status
