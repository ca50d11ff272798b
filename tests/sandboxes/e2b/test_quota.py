"""Quotas of the cloud: tasks wait for a sandbox, give the reason, and time out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fakes.e2b.control import E2BServerProcess
from tests.support.backends import Backend, Repository
from tests.support.e2b.tasks import cloud_backend, ended, failure_of, wait_until_none_alive
from tests.support.waiting import eventually
from utils.config.settings import Settings
from utils.database.migrations import migrate
from utils.dispatcher import admission, task_run
from utils.dispatcher.sources import engine_queue
from utils.sandboxes.e2b import provider
from utils.sandboxes.e2b.provider import CREATE_ATTEMPTS

if TYPE_CHECKING:
    from tests.support.database.postgres_server import PostgresServer

LIMIT = 3
TASKS = 9


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses of the circuit breaker and between attempts, in the same order."""
    monkeypatch.setattr(provider, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(provider, "LONGEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(provider, "PAUSE_JITTER_SECONDS", 0.01)
    monkeypatch.setattr(admission, "FIRST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(admission, "LONGEST_PAUSE_SECONDS", 0.4)
    monkeypatch.setattr(admission, "SHORTEST_WAIT_SECONDS", 0.05)


@contextmanager
def waiting_tasks(
    cloud: E2BServerProcess, folder: Path, repository: Repository, count: int
) -> Iterator[tuple[Backend, list[int]]]:
    with cloud_backend(cloud, folder, max_concurrent_tasks=count, max_tasks_per_user=99) as backend:
        yield backend, [backend.start(f"Task {number}", repository) for number in range(count)]


def creates(cloud: E2BServerProcess) -> int:
    return len(cloud.requests("create"))


def test_tasks_above_the_quota_wait_and_say_why(
    failing_cloud: E2BServerProcess, tmp_path: Path, small: Repository
) -> None:
    failing_cloud.configure(max_concurrent=LIMIT)
    reasons: set[str | None] = set()
    with waiting_tasks(failing_cloud, tmp_path, small, TASKS) as (backend, tasks):

        def all_ended() -> bool:
            rows = [backend.status(task) for task in tasks]
            reasons.update(row.get("waiting_reason") for row in rows)
            assert {row["status"] for row in rows} <= {"pending", "running", "completed"}
            return all(row["status"] == "completed" for row in rows)

        eventually(all_ended)
        rows = [ended(backend, task) for task in tasks]
    assert {row["attempt"] for row in rows} == {1}
    assert f"waiting: E2B limit of {LIMIT} sandboxes" in reasons
    assert reasons <= {None, f"waiting: E2B limit of {LIMIT} sandboxes"}
    counts = wait_until_none_alive(failing_cloud)
    assert (counts["created"], counts["peak"]) == (TASKS, LIMIT)
    # The first crowd asks once each before anybody knows; afterwards one asks now and then.
    assert creates(failing_cloud) <= TASKS + (TASKS - LIMIT) + TASKS // 2


def test_with_the_engine_a_refused_task_goes_back_and_starts_where_there_is_room(
    failing_cloud: E2BServerProcess,
    tmp_path: Path,
    small: Repository,
    postgres_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_queue, "REFUSED_SECONDS", 0.1)
    url = postgres_server.create("refused")
    migrate(Settings.model_validate({"database_url": url}), engine=True)
    failing_cloud.configure(max_concurrent=LIMIT)
    settings = {"database_url": url, "task_engine": "absurd"}
    limits = {"max_concurrent_tasks": TASKS, "max_tasks_per_user": 99}
    with cloud_backend(failing_cloud, tmp_path, **settings, **limits) as backend:
        tasks = [backend.start(f"Task {number}", small) for number in range(TASKS)]
        rows = [ended(backend, task) for task in tasks]
    assert {(row["status"], row["attempt"]) for row in rows} == {("completed", 1)}
    counts = wait_until_none_alive(failing_cloud)
    assert (counts["created"], counts["peak"]) == (TASKS, LIMIT)


def test_a_breaker_opens_says_so_and_closes_after_one_probe(
    failing_cloud: E2BServerProcess,
    tmp_path: Path,
    small: Repository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(task_run, "MAX_REFUSALS", 1000)
    failing_cloud.add_fault("status", route="create", status=503)
    with waiting_tasks(failing_cloud, tmp_path, small, 5) as (backend, tasks):
        eventually(lambda: not backend.get("/health/ready")["sandboxes"]["available"])
        health = backend.get("/health/ready")["sandboxes"]
        assert "status.e2b.dev" in health["reason"]
        # Until the last of the first crowd has given up; from then on there are only probes.
        eventually(lambda: backend.get("/health/ready")["queued"] == len(tasks))
        assert health["reason"] in {backend.status(task).get("waiting_reason") for task in tasks}
        asked = creates(failing_cloud)

        def asked_again() -> bool:
            assert backend.get("/health/ready")["running"] <= 1
            return creates(failing_cloud) >= asked + 6

        eventually(asked_again)
        failing_cloud.remove_faults()
        assert {ended(backend, task)["status"] for task in tasks} == {"completed"}
        health = backend.get("/health/ready")["sandboxes"]
        assert (health["available"], health["reason"]) == (True, None)
        assert {ended(backend, task)["attempt"] for task in tasks} == {1}
    assert wait_until_none_alive(failing_cloud)["created"] == 5


@pytest.mark.parametrize(("status", "code"), [(503, "e2b_unavailable"), (429, "e2b_rate_limited")])
def test_nobody_waits_for_ever_for_a_cloud_that_is_away(
    failing_cloud: E2BServerProcess,
    tmp_path: Path,
    small: Repository,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    code: str,
) -> None:
    monkeypatch.setattr(task_run, "MAX_REFUSALS", 3)
    failing_cloud.add_fault("status", route="create", status=status)
    with waiting_tasks(failing_cloud, tmp_path, small, 3) as (backend, tasks):
        found = {failure_of(ended(backend, task)) for task in tasks}
    assert found == {("failed", code, "cloning")}


def test_a_task_asks_thirteen_times_before_it_fails(
    failing_cloud: E2BServerProcess,
    tmp_path: Path,
    small: Repository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "LONGEST_PAUSE_SECONDS", 0.1)
    failing_cloud.add_fault("status", route="create", status=503)
    with waiting_tasks(failing_cloud, tmp_path, small, 1) as (backend, tasks):
        assert failure_of(ended(backend, tasks[0])) == ("failed", "e2b_unavailable", "cloning")
    assert creates(failing_cloud) == 13 * CREATE_ATTEMPTS


def test_a_sweep_that_the_cloud_answers_makes_sandboxes_available_again(
    failing_cloud: E2BServerProcess,
    tmp_path: Path,
    small: Repository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(task_run, "MAX_REFUSALS", 4)
    failing_cloud.add_fault("status", status=503)
    with cloud_backend(failing_cloud, tmp_path, sweep_grace_seconds=0.1) as backend:
        task_id = backend.start("A task that finds no sandbox", small)
        assert failure_of(ended(backend, task_id)) == ("failed", "e2b_unavailable", "cloning")
        assert not backend.get("/health/ready")["sandboxes"]["available"]
        failing_cloud.remove_faults()
        eventually(lambda: backend.get("/health/ready")["sandboxes"]["available"])


def test_a_task_that_has_not_waited_yet_does_not_fail_for_those_that_have(
    failing_cloud: E2BServerProcess,
    tmp_path: Path,
    small: Repository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(task_run, "MAX_REFUSALS", 4)
    failing_cloud.add_fault("status", route="create", status=503)
    with waiting_tasks(failing_cloud, tmp_path, small, 1) as (backend, tasks):
        assert failure_of(ended(backend, tasks[0])) == ("failed", "e2b_unavailable", "cloning")
        asked = creates(failing_cloud)
        task = backend.start("A new one", small)
        eventually(lambda: creates(failing_cloud) > asked + CREATE_ATTEMPTS)
        failing_cloud.remove_faults()
        assert ended(backend, task)["status"] == "completed"


def test_a_bad_key_fails_at_once_and_is_not_tried_again(
    failing_cloud: E2BServerProcess, tmp_path: Path, small: Repository
) -> None:
    failing_cloud.configure(api_keys=["e2b_another"])
    with waiting_tasks(failing_cloud, tmp_path, small, 5) as (backend, tasks):
        found = [ended(backend, task) for task in tasks]
    assert {failure_of(task) for task in found} == {("failed", "e2b_auth_failed", "cloning")}
    assert creates(failing_cloud) == 5


def test_a_task_that_waits_for_the_cloud_can_be_cancelled(
    failing_cloud: E2BServerProcess, tmp_path: Path, small: Repository
) -> None:
    failing_cloud.add_fault("status", route="create", status=503)
    with waiting_tasks(failing_cloud, tmp_path, small, 6) as (backend, tasks):
        eventually(lambda: not backend.get("/health/ready")["sandboxes"]["available"])
        answers = [backend.post(f"/tasks/{task}/cancel") for task in tasks]
        assert {answer["http_status"] for answer in answers} == {200}, answers
        assert {backend.status(task)["status"] for task in tasks} == {"cancelled"}
        failing_cloud.remove_faults()
        last = backend.start("The last one", small)
        assert ended(backend, last)["status"] == "completed"
    assert wait_until_none_alive(failing_cloud)["created"] == 1
