"""Test users, the sign-in for development."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import JWT_SECRET, Headers, MakeApp, wait_until_idle

Json = dict[str, Any]


def make(client: FlaskClient, body: Json | None = None, status: int = 201) -> Json:
    answer = client.post("/api/test-users", json=body or {})
    assert answer.status_code == status, answer.get_json()
    return dict(answer.get_json())


def bearer(tokens: Json) -> Headers:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


def test_a_test_user_is_made_and_signed_in(client: FlaskClient) -> None:
    created = make(client)
    user = created["user"]
    assert user["email"] == f"{user['id']}@test-users.invalid"
    assert user["metadata"] == {}
    life = datetime.fromisoformat(user["expires_at"]) - datetime.fromisoformat(user["created_at"])
    assert abs(life - timedelta(hours=24)) < timedelta(minutes=1)
    verified = client.get("/auth/verify", headers=bearer(created["tokens"])).get_json()
    assert verified["user_id"] == user["id"]
    refreshed = client.post(
        "/auth/refresh", json={"refresh_token": created["tokens"]["refresh_token"]}
    )
    assert refreshed.status_code == 200


def test_a_test_user_may_be_described(client: FlaskClient) -> None:
    given = {"email": "a@example.com", "user_id": str(uuid4()), "metadata": {"role": "tester"}}
    user = make(client, given)["user"]
    assert {"email": user["email"], "user_id": user["id"], "metadata": user["metadata"]} == given
    assert make(client, given, 409)["code"] == "conflict"


def test_a_page_elsewhere_cannot_make_test_users(client: FlaskClient) -> None:
    for content_type in (None, "text/plain", "application/x-www-form-urlencoded"):
        answer = client.post("/test-users", content_type=content_type)
        assert (answer.status_code, answer.get_json()["code"]) == (415, "unsupported_media_type")


def test_a_foreign_name_for_this_machine_makes_no_test_users(make_app: MakeApp) -> None:
    client = make_app(trust_user_id=False).test_client()
    answer = client.post("/test-users", json={}, headers={"Host": "evil.example"})
    assert (answer.status_code, answer.get_json()["code"]) == (400, "host_not_allowed")
    assert make(client)


@pytest.mark.parametrize(
    "body", [{"email": "nobody"}, {"user_id": "x"}, {"metadata": []}, {"expires_in_hours": 0}]
)
def test_a_strange_description_is_refused(client: FlaskClient, body: Json) -> None:
    assert make(client, body, 400)["error"].startswith(f"{next(iter(body))}:")


def test_test_users_are_listed_and_deleted(client: FlaskClient) -> None:
    user = make(client)["user"]
    assert user in client.get("/test-users").get_json()["users"]
    assert client.get("/test-users/health").get_json()["count"] >= 1
    assert client.delete(f"/test-users/{user['id']}").status_code == 200
    assert client.delete(f"/test-users/{user['id']}").status_code == 404
    assert user not in client.get("/test-users").get_json()["users"]


def test_a_test_user_is_signed_in_again(client: FlaskClient) -> None:
    user = make(client)["user"]
    again = client.post(f"/test-users/{user['id']}/token").get_json()
    assert again["user"] == user
    assert client.get("/tasks", headers=bearer(again["tokens"])).status_code == 200


def test_other_users_are_neither_signed_in_nor_deleted_here(
    client: FlaskClient, headers: Headers, user: str
) -> None:
    for user_id in (user, str(uuid4())):
        assert client.post(f"/test-users/{user_id}/token").status_code == 404
        assert client.delete(f"/test-users/{user_id}").status_code == 404
    assert client.post("/test-users/someone/token").status_code == 404
    assert make(client, {"user_id": user}, 409)
    assert client.get("/auth/verify", headers=headers).status_code == 200


def test_the_token_of_a_test_user_ends_with_the_user(client: FlaskClient) -> None:
    made = make(client, {"expires_in_hours": 1})
    user_id = made["user"]["id"]
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=50), tick=False):
        again = client.post(f"/test-users/{user_id}/token").get_json()["tokens"]
        assert again["expires_in"] <= 10 * 60
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=61), tick=False):
        headers = {"Authorization": f"Bearer {again['access_token']}"}
        assert client.get("/tasks", headers=headers).get_json()["code"] == "token_expired"


def test_expired_test_users_are_shut_out_and_cleaned_up(client: FlaskClient) -> None:
    short = make(client, {"expires_in_hours": 1})
    long = make(client, {"expires_in_hours": 48})
    assert short["tokens"]["expires_in"] <= 3600
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=2), tick=False):
        refresh = {"refresh_token": short["tokens"]["refresh_token"]}
        answer = client.post("/auth/refresh", json=refresh)
        assert (answer.status_code, answer.get_json()["code"]) == (401, "user_expired")
        assert client.post(f"/test-users/{short['user']['id']}/token").status_code == 401
        assert client.post("/test-users/cleanup").get_json()["deleted"] >= 1
        left = [row["id"] for row in client.get("/test-users").get_json()["users"]]
    assert short["user"]["id"] not in left
    assert long["user"]["id"] in left


@pytest.mark.parametrize(
    "changes",
    [
        {"enable_test_users": False},
        {"supabase_url": "https://x.supabase.co"},
        {"environment": "production", "sandbox": "local", "enable_test_users": True},
    ],
)
def test_test_users_are_off_where_users_are_real(make_app: MakeApp, changes: Json) -> None:
    client = make_app(**changes, jwt_secret=JWT_SECRET).test_client()
    calls = [("POST", ""), ("GET", ""), ("DELETE", f"/{uuid4()}"), ("POST", f"/{uuid4()}/token"),
             ("POST", "/cleanup"), ("GET", "/health")]  # fmt: skip
    for method, path in calls:
        answer = client.open(f"/test-users{path}", method=method)
        assert (answer.status_code, answer.get_json()["code"]) == (403, "test_users_disabled")


def make_busy(client: FlaskClient, repository: Path) -> Json:
    created = make(client)
    task = {"prompt": "script:\nsleep 60", "repo_url": str(repository)}
    started = client.post("/start-task", json=task, headers=bearer(created["tokens"]))
    assert started.status_code == 200
    return created


def test_cleaning_up_test_users_stops_the_tasks_of_those_alone(
    app: Flask, client: FlaskClient, headers: Headers, repository: Path
) -> None:
    make_busy(client, repository)
    task = {"prompt": "script:\nsleep 1", "repo_url": str(repository)}
    task_id = client.post("/start-task", json=task, headers=headers).get_json()["task_id"]
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=25), tick=False):
        assert client.post("/test-users/cleanup").get_json()["deleted"] >= 1
    wait_until_idle(app)
    answer = client.get(f"/task-status/{task_id}", headers=headers).get_json()
    assert answer["task"]["status"] == "completed"


def test_deleting_a_test_user_stops_its_tasks(
    app: Flask, client: FlaskClient, repository: Path
) -> None:
    created = make_busy(client, repository)
    assert client.delete(f"/test-users/{created['user']['id']}").status_code == 200
    wait_until_idle(app)


def test_a_real_user_is_not_touched_by_deleting_test_users(
    app: Flask, client: FlaskClient, headers: Headers, user: str, repository: Path
) -> None:
    task = {"prompt": "script:\nsleep 1", "repo_url": str(repository)}
    task_id = client.post("/start-task", json=task, headers=headers).get_json()["task_id"]
    assert client.delete(f"/test-users/{user}").status_code == 404
    wait_until_idle(app)
    answer = client.get(f"/task-status/{task_id}", headers=headers).get_json()
    assert answer["task"]["status"] == "completed"
