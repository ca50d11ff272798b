"""Administrators see and end the tasks of all users; for everybody else nothing is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import SECURE, MakeApp, sign_in
from tests.support.github.app import services_of
from tests.support.waiting import eventually
from utils.models.users import Scope

ADMIN = "00000000-0000-4000-8000-0000000000ad"
ROUTES = (
    ("GET", "/admin/usage"),
    ("GET", "/admin/usage?group_by=nothing"),
    ("GET", "/admin/tasks"),
    ("POST", "/admin/tasks/1/cancel"),
    ("GET", "/admin/workers"),
    ("POST", "/admin/workers/one/drain"),
    ("POST", "/admin/workers/one/resume"),
    ("GET", "/admin/sandboxes"),
    ("DELETE", "/admin/sandboxes/1"),
)
TRUSTING: dict[str, Any] = {
    "environment": "production",
    "sandbox": "local",
    "trust_user_id": True,
    "admin_user_ids": (ADMIN,),
}


@pytest.fixture(scope="module")
def watched(make_app: MakeApp) -> Flask:
    """Provide a development server with an administrator."""
    return make_app(admin_user_ids=(ADMIN,))


@pytest.fixture(scope="module")
def trusting(make_app: MakeApp) -> Flask:
    """Provide a production server that believes user ids, with an administrator."""
    return make_app(**TRUSTING)


def key_of(app: Flask, user_id: str, scope: Scope) -> dict[str, str]:
    services = services_of(app)
    services.database.ensure_user(user_id)
    key, _ = services.api_keys.create(user_id, "Key", scope, None)
    return {"Authorization": f"Bearer {key}"}


def assert_nothing_there(client: FlaskClient, headers: dict[str, str]) -> None:
    """Assert that the answer to every route is that of a path that does not exist."""
    for method, path in ROUTES:
        answer = client.open(path, method=method, headers=headers)
        nowhere = client.open("/nowhere", method=method, headers=headers)
        assert answer.status_code == 404, path
        assert answer.get_json() == nowhere.get_json()


def is_told_to_be_admin(client: FlaskClient, headers: dict[str, str]) -> bool:
    is_admin: bool = client.get("/users/me", headers=headers).get_json()["user"]["is_admin"]
    return is_admin


def test_an_administrator_sees_and_cancels_the_tasks_of_all_users(
    watched: Flask, repository: Path
) -> None:
    client = watched.test_client()
    user_id = str(uuid4())
    user, admin = sign_in(client, user_id), sign_in(client, ADMIN)
    body = {"prompt": "script:\nusage 10 1 0.5\nsleep 600", "repo_url": f"file://{repository}"}
    task_id = client.post("/start-task", json=body, headers=user).get_json()["task_id"]

    def listed() -> dict[str, Any] | None:
        rows = client.get("/admin/tasks", headers=admin).get_json()["tasks"]
        return next((row for row in rows if row["id"] == task_id), None)

    row = eventually(lambda: (one := listed()) and one["sandbox_id"] and one)
    assert (row["user_id"], row["status"], row["agent"]) == (user_id, "running", "claude")
    assert "prompt" not in str(row)
    path = f"/tasks/{task_id}/events"
    eventually(lambda: "usage" in client.get(path, headers=user).get_data(as_text=True))
    cancelled = client.post(f"/admin/tasks/{task_id}/cancel", headers=admin)
    assert cancelled.get_json()["task"]["status"] == "cancelled"
    assert listed() is None
    sums = client.get("/admin/usage", headers=admin).get_json()
    [used] = [one for one in sums["usage"] if one["key"] == user_id]
    assert used["model_micro_usd"] == 500_000
    own = client.get("/usage", headers=admin).get_json()
    assert own["total"]["tasks"] == 0


def test_an_administrator_sees_and_ends_the_sandboxes_of_all_users(watched: Flask) -> None:
    client = watched.test_client()
    user_id = str(uuid4())
    user, admin = sign_in(client, user_id), sign_in(client, ADMIN)
    created = client.post("/v1/sandboxes", json={}, headers=user).get_json()["sandbox"]
    listed = client.get("/admin/sandboxes?limit=1", headers=admin).get_json()
    [row] = listed["sandboxes"]
    assert (row["id"], row["user_id"], row["status"]) == (created["id"], user_id, "running")
    path = f"/admin/sandboxes/{row['id']}"
    assert client.delete(path, headers=admin).status_code == 204
    ended = client.get(f"/v1/sandboxes/{row['id']}", headers=user).get_json()["sandbox"]
    assert ended["status"] == "terminated"
    assert client.delete(path, headers=admin).status_code == 204
    assert client.delete("/admin/sandboxes/987654321", headers=admin).status_code == 404
    assert client.get("/admin/sandboxes", headers=admin).get_json()["sandboxes"] == []


def test_there_is_nothing_to_administer_for_other_users(watched: Flask, secure_app: Flask) -> None:
    client = watched.test_client()
    assert_nothing_there(client, sign_in(client, str(uuid4())))
    for scope in Scope:
        assert_nothing_there(client, key_of(watched, str(uuid4()), scope))
    # Without ADMIN_USER_IDS nobody is an administrator.
    assert_nothing_there(secure_app.test_client(), key_of(secure_app, ADMIN, Scope.ADMIN))
    for method, path in ROUTES:
        assert client.open(path, method=method).status_code == 401


def test_a_key_of_an_administrator_needs_the_scope_admin(watched: Flask) -> None:
    client = watched.test_client()
    for scope in (Scope.READ, Scope.RUN):
        key = key_of(watched, ADMIN, scope)
        answer = client.get("/admin/tasks", headers=key)
        assert (answer.status_code, answer.get_json()["code"]) == (403, "scope_insufficient")
        assert not is_told_to_be_admin(client, key)
    key = key_of(watched, ADMIN, Scope.ADMIN)
    assert client.get("/admin/tasks", headers=key).status_code == 200
    assert is_told_to_be_admin(client, key)
    assert not is_told_to_be_admin(client, key_of(watched, str(uuid4()), Scope.ADMIN))


def test_nobody_becomes_an_administrator_in_production_by_telling_an_id(
    trusting: Flask,
) -> None:
    client = trusting.test_client()
    assert_nothing_there(client, {"X-User-ID": ADMIN})
    assert_nothing_there(client, sign_in(client, ADMIN))
    assert not is_told_to_be_admin(client, sign_in(client, ADMIN))
    answer = client.get("/admin/usage", headers=key_of(trusting, ADMIN, Scope.ADMIN))
    assert answer.status_code == 200


def test_an_administrator_of_a_server_with_real_sign_in_uses_its_tokens(
    make_app: MakeApp,
) -> None:
    secure = make_app(**SECURE, admin_user_ids=(ADMIN.upper(),))
    services = services_of(secure)
    pair = services.tokens.issue(services.database.ensure_user(ADMIN))
    headers = {"Authorization": f"Bearer {pair['access_token']}"}
    assert secure.test_client().get("/admin/tasks", headers=headers).status_code == 200
    assert secure.test_client().get("/admin/tasks", headers={"X-User-ID": ADMIN}).status_code == 401
