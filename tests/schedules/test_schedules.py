"""Schedules from the request to the task that they start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import time_machine
from flask import Flask
from flask.testing import FlaskClient

from main import create_app, stop_app
from tests.conftest import MakeApp, sign_in
from tests.support.waiting import eventually
from utils.api.endpoint import Services
from utils.config.settings import Settings
from utils.database.migrations import migrate
from utils.models.tasks import NewTask

if TYPE_CHECKING:
    from tests.support.database.postgres_server import PostgresServer

Row = dict[str, Any]
Send = Callable[..., Row]

EVERY_MINUTE = "* * * * *"


@pytest.fixture(scope="module")
def app(make_app: MakeApp) -> Iterator[Flask]:
    """Provide a server that looks for due schedules all the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("utils.schedules.scheduler.SCAN_SECONDS", 0.02)
        made = make_app(schedule_min_minutes=1, max_schedules_per_user=2)
    yield made
    # It would look for schedules all the time until the last test of this process.
    stop_app(made)


@pytest.fixture
def send(client: FlaskClient, user: str) -> Send:
    """Provide a function that sends a request as the user, and returns its answer."""
    return sender(client, user)


def sender(client: FlaskClient, user: str) -> Send:
    """Return a function that sends a request as a user, and returns its answer."""
    headers = sign_in(client, user)

    def run(method: str, path: str, status: int = 200, **body: Any) -> Row:
        answer = client.open(path, method=method, json=body or None, headers=headers)
        row: Row = answer.get_json()
        assert answer.status_code == status, row
        return row

    return run


@pytest.fixture
def task(repository: Path) -> Row:
    """Provide the task of a schedule."""
    return {"prompt": "script:\nwrite made.txt here", "repo_url": str(repository), "priority": 3}


def add(send: Send, task: Row, **fields: Any) -> Row:
    """Store a schedule; return its row."""
    body = {"cron": EVERY_MINUTE, "task": task, **fields}
    schedule: Row = send("POST", "/api/schedules", 201, **body)["schedule"]
    return schedule


def read(send: Send, schedule: Row) -> Row:
    row: Row = send("GET", f"/api/schedules/{schedule['id']}")["schedule"]
    return row


def at_next_moment(schedule: Row, **later: float) -> time_machine.travel:
    """Return a journey to the next moment of a schedule, or to a time after it."""
    moment = datetime.fromisoformat(schedule["next_run_at"])
    return time_machine.travel(moment + timedelta(**later))


def refused(send: Send, schedule: Row, number: int) -> Row:
    """Wait until so many starts of a schedule were refused; return its row."""

    def found() -> Row | None:
        row = read(send, schedule)
        return row if row["refusals"] == number else None

    return eventually(found)


def test_a_moment_that_is_due_starts_its_task_once(send: Send, task: Row) -> None:
    schedule = add(send, task, name="Nightly", time_zone="Europe/Berlin")
    assert schedule["task"] == task
    assert schedule["last_task_id"] is None
    # Of the moments that were missed meanwhile one is made up for.
    with at_next_moment(schedule, minutes=7, seconds=20):
        started = eventually(lambda: row if (row := read(send, schedule))["last_task_id"] else None)
        number = started["last_task_id"]
        eventually(lambda: read(send, schedule)["next_run_at"] > schedule["next_run_at"])
        row = eventually(
            lambda: (
                found
                if (found := send("GET", f"/tasks/{number}")["task"])["completed_at"]
                else None
            )
        )
        assert (row["status"], row["changed_files"]) == ("completed", ["made.txt"])
        known = row["execution_metadata"]
        assert (known["schedule_id"], known["priority"]) == (schedule["id"], 3)
        assert known["scheduled_for"] == schedule["next_run_at"].replace("Z", "+00:00")
        assert send("GET", "/tasks")["total_tasks"] == 1
        following = datetime.fromisoformat(read(send, schedule)["next_run_at"])
        assert following > datetime.now(UTC)
    send("DELETE", f"/api/schedules/{schedule['id']}")
    send("GET", f"/api/schedules/{schedule['id']}", 404)
    send("GET", f"/tasks/{number}")


@pytest.fixture
def sharing(
    quiet: None, postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[Flask]]:
    """Provide two servers that share a database with the task engine."""
    monkeypatch.setattr("utils.schedules.scheduler.SCAN_SECONDS", 0.02)
    url = postgres_server.create("schedules")
    shared = {"database_url": url, "schedule_min_minutes": 1, "secret_key": "0123456789abcdef" * 2}
    with ExitStack() as running:
        apps = []
        for name in ("one", "two"):
            settings = Settings.model_validate({"data_dir": tmp_path / name, **shared})
            migrate(settings)
            apps.append(create_app(settings))
            running.callback(stop_app, apps[-1])
        yield apps


def test_servers_that_share_the_task_engine_start_the_task_of_a_moment_once(
    sharing: list[Flask], user: str, task: Row
) -> None:
    one, two = (sender(app.test_client(), user) for app in sharing)
    eventually(lambda: one("GET", "/health/ready")["workers"] == 2)
    schedule = add(one, task)
    with at_next_moment(schedule, seconds=1):
        number = eventually(lambda: read(two, schedule)["last_task_id"])
        eventually(lambda: read(one, schedule)["next_run_at"] > schedule["next_run_at"])
        eventually(lambda: two("GET", f"/tasks/{number}")["task"]["status"] == "completed")
        assert one("GET", "/tasks")["total_tasks"] == 1
    one("DELETE", f"/schedules/{schedule['id']}")


def test_a_moment_whose_task_a_killed_server_has_created_starts_no_other_one(
    app: Flask, user: str, send: Send, task: Row
) -> None:
    schedule = add(send, task)
    services: Services = app.extensions["services"]
    new = NewTask("true", task["repo_url"], "", "scripted", schedule_id=schedule["id"])
    new = replace(new, scheduled_for=schedule["next_run_at"])
    created = services.database.create_task(user, new)
    with at_next_moment(schedule, seconds=1):
        eventually(lambda: read(send, schedule)["next_run_at"] > schedule["next_run_at"])
        assert read(send, schedule)["last_task_id"] == created.id
        assert send("GET", "/tasks")["total_tasks"] == 1
    send("DELETE", f"/schedules/{schedule['id']}")
    send("POST", f"/tasks/{created.id}/cancel")


def test_a_start_that_is_refused_tells_why_and_pauses_the_schedule_in_the_end(
    send: Send, task: Row
) -> None:
    body = {"name": "Soon gone", "repo_url": task["repo_url"]}
    project = send("POST", "/projects", **body)["project"]["id"]
    schedule = add(send, {**task, "project_id": project})
    send("DELETE", f"/projects/{project}")
    row = schedule
    for number in range(1, 6):
        assert row["is_enabled"]
        with at_next_moment(row):
            row = refused(send, schedule, number)
            assert (row["last_error_code"], row["last_task_id"]) == ("not_found", None)
    assert (row["is_enabled"], row["next_run_at"]) == (False, None)
    assert row["last_error"].startswith("Paused, because 5 starts in a row were refused.")
    assert "There is no such project." in row["last_error"]
    path = f"/api/schedules/{schedule['id']}"
    row = send("PATCH", path, is_enabled=True, task=task)["schedule"]
    assert (row["last_error"], row["refusals"]) == (None, 0)
    with at_next_moment(row):
        eventually(lambda: read(send, schedule)["last_task_id"])
    send("DELETE", path)


def test_a_schedule_that_is_paused_starts_nothing_and_misses_its_moments(
    send: Send, task: Row
) -> None:
    paused, other = add(send, task, is_enabled=False), add(send, task)
    assert paused["next_run_at"] is None
    with at_next_moment(other, minutes=5):
        eventually(lambda: read(send, other)["last_task_id"])
        assert read(send, paused)["last_task_id"] is None
        row = send("PATCH", f"/api/schedules/{paused['id']}", is_enabled=True)["schedule"]
        assert datetime.fromisoformat(row["next_run_at"]) > datetime.now(UTC)
    for schedule in (paused, other):
        send("DELETE", f"/api/schedules/{schedule['id']}")


def test_a_schedule_is_refused_where_its_task_would_be(
    send: Send, client: FlaskClient, task: Row
) -> None:
    wrong: list[tuple[Row, str]] = [
        ({"cron": "61 * * * *"}, "cron: must have five fields"),
        ({"time_zone": "Mars/Olympus"}, "time_zone: must be a time zone"),
        ({"task": {**task, "github_token": "ghp_mine"}}, "task: must not have a github_token"),
        ({"task": {**task, "model": "abacus"}}, "model: must be one of"),
        ({"task": {**task, "attempts": 99}}, "attempts: 99 tasks are too many"),
        ({"task": {**task, "auto_pr": True}}, "auto_pr: "),
        ({"task": {"prompt": "Hello"}}, "task.repo_url: is required."),
        ({"every": "day"}, "The request has an unknown field."),
    ]
    for fields, text in wrong:
        body = {"cron": EVERY_MINUTE, "task": task, **fields}
        error = send("POST", "/schedules", 400, **body)["error"]
        assert error.startswith(text), error
        assert "ghp_mine" not in error
    send("POST", "/schedules", 404, cron=EVERY_MINUTE, task={**task, "project_id": 987})
    first, second = add(send, task), add(send, task)
    body = {"cron": EVERY_MINUTE, "task": task}
    assert send("POST", "/schedules", 409, **body)["code"] == "too_many_schedules"
    for schedule in (first, second):
        send("DELETE", f"/schedules/{schedule['id']}")


def test_a_change_moves_the_next_moment_and_keeps_the_rest(send: Send, task: Row) -> None:
    schedule = add(send, task, name="Nightly", cron="0 3 * * *", time_zone="Asia/Tokyo")
    path = f"/schedules/{schedule['id']}"
    assert schedule["next_run_at"].endswith("T18:00:00Z")
    moved = send("PATCH", path, time_zone="UTC")["schedule"]
    assert moved["next_run_at"].endswith("T03:00:00Z")
    assert (moved["name"], moved["task"], moved["cron"]) == ("Nightly", task, "0 3 * * *")
    assert send("PATCH", path, name=None)["schedule"]["name"] is None
    assert send("PATCH", path, 400, cron="* * *")["code"] == "invalid_request"
    assert send("GET", "/schedules")["schedules"] == [read(send, schedule)]
    send("DELETE", path)


def test_two_moments_may_not_be_too_close(make_app: MakeApp, user: str, task: Row) -> None:
    client = make_app().test_client()
    headers = sign_in(client, user)
    answer = client.post("/schedules", json={"cron": "*/4 * * * *", "task": task}, headers=headers)
    assert answer.status_code == 400
    assert "at least 5 are required (SCHEDULE_MIN_MINUTES)" in answer.get_json()["error"]
