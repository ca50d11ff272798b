"""API keys on every route of the application and on every database.

The cases are made from the application's routes, so that a new endpoint cannot slip by.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from main import stop_app
from tests.api.test_access import OWNED, OWNED_IDS, PRIVATE, PRIVATE_IDS, every, send
from tests.conftest import Headers, MakeApp, wait_until_idle
from tests.fakes.github.server import serve_github
from tests.support.github.app import services_of
from tests.support.supabase.settings import rows_in
from utils.models.users import Scope

READING = {"GET"}
SECRET = "/projects/<id:project_id>/secrets/<variable:secret_name>"
FOR_ADMINS = {
    "POST /keys",
    "DELETE /keys/<id:key_id>",
    "PUT /users/me",
    "POST /schedules",
    "PATCH /schedules/<id:schedule_id>",
    "DELETE /schedules/<id:schedule_id>",
    f"PUT {SECRET}",
    f"DELETE {SECRET}",
}
SECURE: dict[str, Any] = {"trust_user_id": False, "server_silence_seconds": 3600}


class KeyUser:
    """A user of a server with a key of each scope, and with a row of each kind."""

    def __init__(self, app: Flask, repository: Path) -> None:
        services = services_of(app)
        user = services.database.ensure_user(str(uuid4()))
        made = {scope: services.api_keys.create(user.id, scope, scope, None) for scope in Scope}
        self.headers: dict[Scope, Headers] = {
            scope: {"Authorization": f"Bearer {key}"} for scope, (key, _) in made.items()
        }
        client, admin = app.test_client(), self.headers[Scope.ADMIN]
        address = {"repo_url": str(repository)}
        project = client.post("/projects", json={"name": "Mine", **address}, headers=admin)
        prompt = {"prompt": "Hello", **address}
        task = client.post("/start-task", json=prompt, headers=admin)
        group = client.post("/start-task", json={**prompt, "attempts": 2}, headers=admin)
        sandbox = client.post("/v1/sandboxes", json=address, headers=admin).get_json()["sandbox"]
        path = f"/v1/sandboxes/{sandbox['id']}/files/notes.txt"
        assert client.put(path, data=b"Mine", headers=admin).status_code == 200
        nightly = {"cron": "0 3 * * *", "task": prompt}
        schedule = client.post("/schedules", json=nightly, headers=admin)
        self.rows = {
            "schedule_id": schedule.get_json()["schedule"]["id"],
            "sandbox_id": sandbox["id"],
            "repository": repository.name,
            "file_path": "notes.txt",
            "project_id": project.get_json()["project"]["id"],
            "task_id": task.get_json()["task_id"],
            "group_id": group.get_json()["group_id"],
            "key_id": made[Scope.READ][1].id,
        }
        wait_until_idle(app)


on_others = pytest.mark.exhaustive("test_contract_api_keys finds keys in every database")
DATABASES = [
    "sqlite",
    *(pytest.param(name, marks=on_others) for name in ("postgresql", "supabase")),
]


@pytest.fixture(scope="module", params=DATABASES)
def app(request: pytest.FixtureRequest, make_app: MakeApp) -> Iterator[Flask]:
    """Provide a server that accepts API keys only, on each kind of database."""
    settings = dict(SECURE)
    if request.param == "supabase":
        stack = request.getfixturevalue("supabase_stack")
        stack.clear()
        settings |= rows_in(stack)
    elif request.param == "postgresql":
        request.getfixturevalue("postgresql_gateway")
        settings["database_url"] = request.getfixturevalue("postgres_server").url("contract")
    with serve_github() as github:
        app = make_app(**settings, github_api_url=github.api_url)
        yield app
        # Its heartbeats would be among the requests that later tests count.
        stop_app(app)


@pytest.fixture(scope="module")
def owner(app: Flask, repository: Path) -> KeyUser:
    return KeyUser(app, repository)


@pytest.fixture(scope="module")
def other(app: Flask, repository: Path) -> KeyUser:
    return KeyUser(app, repository)


def rows_of(user: KeyUser, rule: Rule) -> dict[str, object]:
    return {name: user.rows.get(name, 1) for name in rule.arguments}


@pytest.mark.parametrize(("method", "rule"), PRIVATE, ids=PRIVATE_IDS)
def test_a_key_does_what_its_scope_allows(
    client: FlaskClient, owner: KeyUser, method: str, rule: Rule
) -> None:
    needed = Scope.READ if method in READING else Scope.RUN
    if f"{method} {rule.rule}" in FOR_ADMINS:
        needed = Scope.ADMIN
    # Without a body, so that what is allowed changes nothing.
    path = f"/api{re.sub(r'<[^>]+>', '999999999', rule.rule)}"
    answers = {
        scope: client.open(path, method=method, headers=owner.headers[scope]) for scope in Scope
    }
    if rule.rule.startswith("/admin/"):
        # They exist for the users of ADMIN_USER_IDS only; see tests/usage/test_admin.py.
        assert {answer.status_code for answer in answers.values()} == {404}
        return
    refused = {scope for scope, answer in answers.items() if answer.status_code == 403}
    assert refused == {scope for scope in Scope if not scope.includes(needed)}
    assert {answers[scope].get_json()["code"] for scope in refused} <= {"scope_insufficient"}


@pytest.mark.parametrize(("method", "rule"), PRIVATE, ids=PRIVATE_IDS)
def test_without_a_valid_key_nothing_is_answered(
    client: FlaskClient, method: str, rule: Rule
) -> None:
    for headers, code in (
        ({}, "token_missing"),
        ({"Authorization": "Bearer ac_" + "0" * 64}, "api_key_invalid"),
        ({"X-User-ID": str(uuid4())}, "token_missing"),
    ):
        assert send(client, method, rule, every(rule, "1"), headers) == (401, code)


@pytest.mark.parametrize(("method", "rule"), OWNED, ids=OWNED_IDS)
def test_a_key_of_another_user_finds_nothing(
    client: FlaskClient, owner: KeyUser, other: KeyUser, method: str, rule: Rule
) -> None:
    headers = other.headers[Scope.ADMIN]
    assert send(client, method, rule, rows_of(owner, rule), headers) == (404, "not_found")


def test_a_key_reads_the_rows_of_its_user(client: FlaskClient, owner: KeyUser) -> None:
    headers = owner.headers[Scope.READ]
    for method, rule in OWNED:
        if method in READING and not rule.rule.endswith("/patch"):
            assert send(client, method, rule, rows_of(owner, rule), headers)[0] == 200
