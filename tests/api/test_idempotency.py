"""Tests that a request with an Idempotency-Key is carried out once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import Headers
from utils.errors import DatabaseUnavailable, QueueFull


@pytest.fixture
def body(repository: Path) -> dict[str, Any]:
    """Provide the body of a request that starts a task."""
    return {"prompt": "Say hello", "repo_url": str(repository)}


def start(client: FlaskClient, headers: Headers, body: Any, key: str = "k") -> TestResponse:
    return client.post("/api/start-task", json=body, headers={**headers, "Idempotency-Key": key})


def tasks_of(client: FlaskClient, headers: Headers) -> int:
    return int(client.get("/tasks", headers=headers).get_json()["total_tasks"])


def test_a_repeated_request_starts_one_task(
    client: FlaskClient, headers: Headers, stranger: Headers, body: dict[str, Any]
) -> None:
    first = start(client, headers, body)
    assert first.status_code == 200
    again = start(client, headers, dict(reversed(body.items())))
    assert (again.status_code, again.get_json()) == (200, first.get_json())
    assert tasks_of(client, headers) == 1
    for more in ({**body, "prompt": "Other"}, {**body, "github_token": "other"}):
        other = start(client, headers, more)
        assert (other.status_code, other.get_json()["code"]) == (409, "idempotency_key_reused")
    assert start(client, headers, body, "l").get_json() != first.get_json()
    assert start(client, stranger, body).get_json() != first.get_json()
    assert tasks_of(client, headers) == 2


def test_a_key_belongs_to_one_endpoint(
    client: FlaskClient, headers: Headers, body: dict[str, Any]
) -> None:
    task_id = start(client, headers, body).get_json()["task_id"]
    other = client.post(
        f"/create-pr/{task_id}", json=body, headers={**headers, "Idempotency-Key": "k"}
    )
    assert other.status_code in (400, 409)


def test_requests_at_the_same_time_start_one_task(
    app: Flask, headers: Headers, body: dict[str, Any]
) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: start(app.test_client(), headers, body), range(4)))
    assert tasks_of(app.test_client(), headers) == 1
    assert 200 in {answer.status_code for answer in answers}
    for refused in (answer for answer in answers if answer.status_code != 200):
        assert refused.get_json()["code"] == "idempotency_key_in_use"
        assert int(refused.headers["Retry-After"]) > 0


def test_a_refused_request_can_be_repeated(
    app: Flask, headers: Headers, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, dispatcher = app.test_client(), app.extensions["services"].dispatcher

    def refuse(*_: object) -> None:
        raise QueueFull("Too many tasks wait.", retry_after_seconds=1)

    with monkeypatch.context() as patched:
        patched.setattr(dispatcher, "start_task", refuse)
        assert start(client, headers, body).status_code == 429
    assert start(client, headers, body).status_code == 200


def test_a_request_whose_end_is_unknown_is_not_repeated_at_once(
    app: Flask, headers: Headers, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, database = app.test_client(), app.extensions["services"].database
    create_task = type(database).create_task

    def lose_answer(*arguments: Any) -> None:
        create_task(database, *arguments)
        raise DatabaseUnavailable("The database did not respond.")

    with monkeypatch.context() as patched:
        patched.setattr(database, "create_task", lose_answer)
        assert start(client, headers, body).status_code == 503
    assert start(client, headers, body).status_code == 200
    assert tasks_of(client, headers) == 1


@pytest.mark.parametrize("key", ["", "two words", "h\u00e9", "x" * 256])
def test_other_keys_are_refused(
    client: FlaskClient, headers: Headers, body: dict[str, Any], key: str
) -> None:
    answer = start(client, headers, body, key)
    assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid_request")
    assert tasks_of(client, headers) == 0
