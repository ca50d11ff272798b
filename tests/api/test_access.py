"""Every endpoint authenticates its caller and never shows another user's rows.

The cases are made from the application's routes, so that a new endpoint cannot slip by.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from main import declare_routes
from tests.auth.test_tokens import bearer, own_token, unsigned_token
from tests.conftest import Headers
from utils.api.endpoint import declaration_of
from utils.api.openapi.document import build_openapi

# Endpoints without authentication: sign-in, test users, health, documentation, and webhook
# deliveries, which GitHub signs.
PUBLIC = re.compile(
    r"/|/ping|/health/.*|/metrics|/auth/(token|refresh|logout)|/validate-token"
    r"|/webhooks/github|/test-users(/.*)?|/openapi.json|/docs.*|/favicon.ico|/assets/.*"
)

GIT = "/v1/sandboxes/<id:sandbox_id>/git"

# A valid body for each endpoint, so that it can only refuse the caller.
BODIES: dict[str, Any] = {
    "POST /projects": {"name": "Mine", "repo_url": "https://github.com/o/n"},
    "PUT /projects/<id:project_id>": {"name": "Mine"},
    "PUT /projects/<id:project_id>/secrets/<variable:secret_name>": {"value": "mine"},
    "POST /start-task": {"prompt": "Hello", "repo_url": "https://github.com/o/n"},
    "POST /schedules": {
        "cron": "0 3 * * *",
        "task": {"prompt": "Hello", "repo_url": "https://github.com/o/n"},
    },
    "PATCH /schedules/<id:schedule_id>": {"is_enabled": False},
    "POST /task-groups/<id:group_id>/choose": {"task_id": 1},
    "POST /tasks/<id:task_id>/chat": {"role": "user", "content": "Hello"},
    "POST /migrate-legacy-tasks": [],
    "POST /github/tasks/<id:task_id>/status": {"state": "success"},
    "POST /keys": {"name": "Laptop"},
    "POST /v1/sandboxes": {},
    "POST /v1/sandboxes/<id:sandbox_id>/execute": {"command": ["true"]},
    f"POST {GIT}/clone": {"repo_url": "https://github.com/o/n"},
    f"POST {GIT}/<name:repository>/branch": {"branch": "mine"},
    f"POST {GIT}/<name:repository>/commit": {"message": "Mine"},
    f"POST {GIT}/<name:repository>/push": {"branch": "mine", "message": "Mine"},
    f"POST {GIT}/<name:repository>/pr": {"branch": "mine", "message": "Mine"},
}

# These are about nothing that a user owns: what is on GitHub, see tests/github/test_routes.py, and
# workers, see tests/usage/test_admin.py.
OF_NO_USER = re.compile(r"/github/repos/.*|/admin/workers/.*")

EVENT_STREAM = "text/event-stream"

APP = declare_routes()


def endpoints() -> Iterator[tuple[str, Rule]]:
    for rule in APP.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield method, rule


PRIVATE = [(method, rule) for method, rule in endpoints() if not PUBLIC.fullmatch(rule.rule)]
PRIVATE_IDS = [f"{method} {rule.rule}" for method, rule in PRIVATE]
OWNED = [
    (method, rule)
    for method, rule in PRIVATE
    if rule.arguments and not OF_NO_USER.fullmatch(rule.rule)
]
OWNED_IDS = [f"{method} {rule.rule}" for method, rule in OWNED]


def send(
    client: FlaskClient, method: str, rule: Rule, rows: Mapping[str, object], headers: Headers
) -> tuple[int, str]:
    """Send a request; `rows` has a value for each argument of the path."""
    path = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: str(rows[found[1]]), rule.rule)
    body = BODIES.get(f"{method} {rule.rule}")
    answer = client.open(f"/api{path}", method=method, json=body, headers=headers)
    return answer.status_code, (answer.get_json(silent=True) or {}).get("code", "")


def every(rule: Rule, value: str) -> dict[str, object]:
    """Return the same value for each argument of a path."""
    return dict.fromkeys(rule.arguments, value)


def sandbox_rows(
    client: FlaskClient, headers: Headers, address: Mapping[str, str], rule: Rule
) -> dict[str, object]:
    """Open the sandbox that a path is about; return its arguments."""
    created = client.post("/v1/sandboxes", json={}, headers=headers)
    rows: dict[str, object] = {"sandbox_id": created.get_json()["sandbox"]["id"]}
    if "repository" in rule.arguments:
        path = f"/v1/sandboxes/{rows['sandbox_id']}/git/clone"
        body = {**address, "name": "mine"}
        assert client.post(path, json=body, headers=headers).status_code == 201
        rows["repository"] = "mine"
    if "file_path" in rule.arguments:
        rows["file_path"] = "notes.txt"
        path = f"/v1/sandboxes/{rows['sandbox_id']}/files/notes.txt"
        assert client.put(path, data=b"Mine", headers=headers).status_code == 200
    return rows


def add_rows(
    client: FlaskClient, headers: Headers, repository: Path, rule: Rule
) -> dict[str, object]:
    """Add the rows that a path is about; return its arguments."""
    address = {"repo_url": str(repository)}
    task = {"prompt": "Hello", **address}
    rows: dict[str, object] = {}
    if "key_id" in rule.arguments:
        created = client.post("/keys", json={"name": "Laptop"}, headers=headers)
        rows["key_id"] = created.get_json()["api_key"]["id"]
    if "project_id" in rule.arguments:
        created = client.post("/projects", json={"name": "Mine", **address}, headers=headers)
        rows["project_id"] = created.get_json()["project"]["id"]
    if "secret_name" in rule.arguments:
        rows["secret_name"] = "MINE"
        path = f"/projects/{rows['project_id']}/secrets/MINE"
        assert client.put(path, json={"value": "mine"}, headers=headers).status_code == 200
    if "group_id" in rule.arguments:
        created = client.post("/start-task", json={**task, "attempts": 2}, headers=headers)
        rows["group_id"] = created.get_json()["group_id"]
    if "schedule_id" in rule.arguments:
        body = {"cron": "0 3 * * *", "task": task}
        created = client.post("/schedules", json=body, headers=headers)
        rows["schedule_id"] = created.get_json()["schedule"]["id"]
    if "task_id" in rule.arguments:
        rows["task_id"] = client.post("/start-task", json=task, headers=headers).get_json()[
            "task_id"
        ]
    if "turn_number" in rule.arguments:
        rows["turn_number"] = 1
    if "sandbox_id" in rule.arguments:
        rows |= sandbox_rows(client, headers, address, rule)
    assert rows.keys() == rule.arguments, "say in this function how a row of this kind is made"
    return rows


def test_there_are_private_endpoints() -> None:
    assert len(PRIVATE) >= 17
    assert len(OWNED) >= 11


def test_private_endpoints_are_declared_as_such() -> None:
    declared = [declaration_of(APP.view_functions[rule.endpoint]) for _, rule in PRIVATE]
    assert all(declaration is not None and not declaration.public for declaration in declared)


@pytest.mark.parametrize(("method", "rule"), PRIVATE, ids=PRIVATE_IDS)
def test_an_unknown_caller_gets_401(secure_client: FlaskClient, method: str, rule: Rule) -> None:
    user = str(uuid4())
    content, _, signature = own_token(user).rpartition(".")
    another_content = own_token(str(uuid4())).rpartition(".")[0]
    callers = {
        "token_missing": [{}, {"X-User-ID": user}],
        "token_expired": [bearer(own_token(user, exp=1_600_000_000))],
        "token_invalid": [
            bearer(own_token(user, secret="another-secret-of-enough-characters")),
            bearer(f"{another_content}.{signature}"),
            bearer(f"{content}.{signature[::-1]}"),
            bearer(unsigned_token(user)),
        ],
    }
    for code, variants in callers.items():
        for headers in variants:
            assert send(secure_client, method, rule, every(rule, "1"), headers) == (401, code)


@pytest.mark.parametrize(("method", "rule"), OWNED, ids=OWNED_IDS)
def test_another_users_row_does_not_exist(
    client: FlaskClient, headers: Headers, stranger: Headers, repository: Path,
    method: str, rule: Rule,
) -> None:  # fmt: skip
    rows = add_rows(client, headers, repository, rule)
    as_stream = {**stranger, "Accept": EVENT_STREAM}
    for unknown in (stranger, as_stream):
        assert send(client, method, rule, rows, unknown) == (404, "not_found")
    missing = every(rule, "999999999999999999")
    assert send(client, method, rule, missing, headers) == (404, "not_found")
    assert send(client, method, rule, every(rule, "0"), headers)[0] == 404
    assert send(client, method, rule, every(rule, "9" * 30), headers)[0] == 404


@pytest.mark.parametrize(
    "path", ["/tasks", "/task-groups", "/events", "/projects", "/keys", "/v1/sandboxes"]
)
def test_lists_hold_nothing_of_another_user(
    client: FlaskClient, headers: Headers, stranger: Headers, repository: Path, path: str
) -> None:
    empty = client.get(path, headers=stranger).get_json()
    client.post("/keys", json={"name": "Laptop"}, headers=headers)
    client.post("/v1/sandboxes", json={}, headers=headers)
    project = {"name": "Mine", "repo_url": str(repository)}
    client.post("/projects", json=project, headers=headers)
    body = {"prompt": "Hello", "repo_url": str(repository), "attempts": 2}
    assert client.post("/start-task", json=body, headers=headers).status_code == 200
    assert client.get(path, headers=stranger).get_json() == empty


def test_a_ticket_opens_the_streams_of_its_user_only(
    client: FlaskClient, headers: Headers, stranger: Headers, repository: Path
) -> None:
    body = {"prompt": "Hello", "repo_url": str(repository)}
    task_id = client.post("/start-task", json=body, headers=headers).get_json()["task_id"]
    ticket = client.post("/events/ticket", headers=stranger).get_json()["ticket"]
    answers = [
        client.get(f"/tasks/{task_id}/events?ticket={one}", headers={"Accept": EVENT_STREAM})
        for one in (ticket, ticket, "unknown")
    ]
    assert [answer.status_code for answer in answers] == [404, 401, 401]


def test_another_users_project_takes_no_tasks(
    client: FlaskClient, headers: Headers, stranger: Headers, repository: Path
) -> None:
    address = {"repo_url": str(repository)}
    created = client.post("/projects", json={"name": "Mine", **address}, headers=headers)
    project_id = created.get_json()["project"]["id"]
    task = {"prompt": "Hello", "project_id": project_id, **address}
    assert client.post("/start-task", json=task, headers=stranger).status_code == 404
    listed = client.get(f"/tasks?project_id={project_id}", headers=stranger).get_json()
    assert listed["tasks"] == {}


def test_the_document_says_which_endpoints_need_a_caller() -> None:
    paths = build_openapi(APP)["paths"]
    private = {
        f"{method.upper()} {path}"
        for path, operations in paths.items()
        for method, operation in operations.items()
        if "security" not in operation
    }
    assert private == {re.sub(r"<\w+:(\w+)>", r"{\1}", name) for name in PRIVATE_IDS}
