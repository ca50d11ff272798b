"""API keys sign in scripts and users on every server, within their scope."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from main import stop_app
from tests.conftest import JWT_SECRET, Headers, MakeApp, sign_in, wait_until_idle
from tests.support.github.app import services_of
from tests.support.stored_files import stored_bytes
from tests.support.supabase.settings import rows_in
from utils.models.users import Scope
from utils.redaction import Redactor

KEY = re.compile(r"ac_[0-9a-f]{64}")
PRODUCTION: dict[str, Any] = {"environment": "production", "sandbox": "local"}


@pytest.fixture(scope="module")
def production(make_app: MakeApp) -> Flask:
    """Provide a production server without Supabase."""
    return make_app(**PRODUCTION)


def bearer(key: str) -> Headers:
    return {"Authorization": f"Bearer {key}"}


def make_key(client: FlaskClient, headers: Headers, **body: Any) -> dict[str, Any]:
    answer = client.post("/api/keys", json={"name": "Laptop", **body}, headers=headers)
    assert answer.status_code == 200, answer.get_json()
    made: dict[str, Any] = answer.get_json()
    return made


def refused(answer: TestResponse) -> tuple[int, str]:
    assert answer.status_code >= 400, answer.get_json()
    return answer.status_code, answer.get_json()["code"]


def first_key(app: Flask, scope: str = "admin") -> str:
    """Add a user as `./run.sh add-user` does; return the key."""
    services = services_of(app)
    user = services.database.ensure_user(str(uuid4()))
    return services.api_keys.create(user.id, "First", Scope(scope), None)[0]


def test_a_key_is_shown_once_and_then_only_listed(client: FlaskClient, headers: Headers) -> None:
    made = make_key(client, headers, scope="read", expires_in_days=30)
    key, row = made["key"], made["api_key"]
    assert KEY.fullmatch(key)
    assert key.startswith(row["prefix"])
    assert len(row["prefix"]) <= len("ac_") + 12
    assert (row["name"], row["scope"], row["last_used_at"]) == ("Laptop", "read", None)
    days = datetime.fromisoformat(row["expires_at"]) - datetime.fromisoformat(row["created_at"])
    assert round(days / timedelta(days=1), 3) == 30
    answer = client.get("/keys", headers=headers)
    assert answer.get_json()["api_keys"] == [row]
    assert key not in answer.get_data(as_text=True)


def test_a_production_server_without_supabase_is_used_with_keys(production: Flask) -> None:
    client = production.test_client()
    headers = bearer(first_key(production))
    assert client.get("/auth/verify", headers=headers).get_json()["valid"] is True
    body = {"name": "Mine", "repo_url": "https://github.com/o/n"}
    assert client.post("/projects", json=body, headers=headers).status_code == 200
    assert refused(client.get("/tasks")) == (401, "token_missing")
    message = client.get("/tasks").get_json()["error"]
    assert "add-user" in message


def test_the_last_use_is_told(client: FlaskClient, headers: Headers) -> None:
    key = bearer(make_key(client, headers)["key"])

    def last_use() -> datetime:
        [row] = client.get("/keys", headers=headers).get_json()["api_keys"]
        return datetime.fromisoformat(row["last_used_at"])

    start = datetime.now(UTC)
    for seconds, expected in ((0, 0), (59, 0), (61, 61), (100, 61)):
        with time_machine.travel(start + timedelta(seconds=seconds), tick=False):
            assert client.get("/tasks", headers=key).status_code == 200
        assert round((last_use() - start).total_seconds()) == expected


def test_a_revoked_key_is_refused_at_once_by_every_server(
    make_app: MakeApp, database_settings: dict[str, Any]
) -> None:
    one, two = make_app(**database_settings), make_app(**database_settings)
    key = bearer(first_key(one))
    clients = one.test_client(), two.test_client()
    made = make_key(clients[0], key)
    other = bearer(made["key"])
    assert [client.get("/tasks", headers=other).status_code for client in clients] == [200, 200]
    gone = clients[0].delete(f"/keys/{made['api_key']['id']}", headers=key)
    assert gone.status_code == 200
    for client in clients:
        assert refused(client.get("/tasks", headers=other)) == (401, "api_key_invalid")
    for app in (one, two):
        stop_app(app)


@pytest.fixture(params=["postgresql", "supabase"])
def database_settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Provide the settings of servers that share a database."""
    if request.param == "supabase":
        stack = request.getfixturevalue("supabase_stack")
        stack.clear()
        return rows_in(stack, server_silence_seconds=3600)
    request.getfixturevalue("postgresql_database")
    server = request.getfixturevalue("postgres_server")
    return {"database_url": server.url("contract"), "server_silence_seconds": 3600}


def test_an_expired_key_is_refused_to_the_second(client: FlaskClient, headers: Headers) -> None:
    end = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    key = bearer(make_key(client, headers, expires_at=end.isoformat())["key"])
    for moment, status in ((end - timedelta(seconds=1), 200), (end, 401)):
        with time_machine.travel(moment, tick=False):
            answer = client.get("/tasks", headers=key)
            assert answer.status_code == status
    assert refused(answer) == (401, "api_key_expired")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "where", ["first", "middle", "last", "longer", "shorter", "case", "prefix"]
)
def test_a_key_that_is_nearly_right_is_refused(
    client: FlaskClient, headers: Headers, where: str
) -> None:
    key = make_key(client, headers)["key"]
    wrong = {
        "first": f"ac_{'0' if key[3] != '0' else '1'}{key[4:]}",
        "middle": key[:40] + ("0" if key[40] != "0" else "1") + key[41:],
        "last": key[:-1] + ("0" if key[-1] != "0" else "1"),
        "longer": key + "0",
        "shorter": key[:-1],
        "case": "ac_" + key[3:].upper(),
        "prefix": key[:15],
    }[where]
    assert refused(client.get("/tasks", headers=bearer(wrong))) == (401, "api_key_invalid")


@pytest.mark.parametrize("odd", ["ac_", "ac_%", "ac_\xe9" * 9, "ac_" + "[" * 3_000, "ac_*"])
def test_odd_keys_are_refused(client: FlaskClient, odd: str) -> None:
    assert refused(client.get("/tasks", headers=bearer(odd))) == (401, "api_key_invalid")


def test_a_key_is_not_exchanged_for_a_pair(production: Flask) -> None:
    client, key = production.test_client(), first_key(production, "read")
    answers = [
        client.post("/auth/token", headers=bearer(key)),
        client.post("/auth/token", json={"supabase_access_token": key}),
        client.post("/auth/refresh", json={"refresh_token": key}),
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert "access_token" not in "".join(answer.get_data(as_text=True) for answer in answers)


def test_without_an_end_or_scope_a_key_may_run_tasks(client: FlaskClient, headers: Headers) -> None:
    row = make_key(client, headers)["api_key"]
    assert (row["scope"], row["expires_at"]) == ("run", None)


@pytest.mark.parametrize("scope", ["read", "run"])
def test_only_admin_keys_make_and_revoke_keys(production: Flask, scope: str) -> None:
    client = production.test_client()
    key = bearer(first_key(production, scope))
    assert refused(client.post("/keys", json={"name": "X", "scope": "read"}, headers=key)) == (
        403,
        "scope_insufficient",
    )
    [row] = client.get("/keys", headers=key).get_json()["api_keys"]
    assert refused(client.delete(f"/keys/{row['id']}", headers=key))[0] == 403
    assert refused(client.put("/users/me", json={}, headers=key))[0] == 403


def test_a_key_makes_no_key_that_lives_longer(client: FlaskClient, headers: Headers) -> None:
    made = make_key(client, headers, scope="admin", expires_in_days=2)
    end, key = made["api_key"]["expires_at"], bearer(made["key"])
    for wish in ({}, {"expires_in_days": 3}, {"expires_at": "2999-01-01T00:00:00Z"}):
        assert make_key(client, key, **wish)["api_key"]["expires_at"] == end
    assert make_key(client, key, expires_in_days=1)["api_key"]["expires_at"] < end


def test_a_key_of_a_test_user_ends_with_the_user(client: FlaskClient) -> None:
    created = client.post("/test-users", json={"expires_in_hours": 1}).get_json()
    headers = bearer(created["tokens"]["access_token"])
    made = make_key(client, headers, expires_in_days=9)
    ends = [created["user"]["expires_at"], made["api_key"]["expires_at"]]
    assert len({datetime.fromisoformat(end) for end in ends}) == 1
    client.delete(f"/test-users/{created['user']['id']}")
    assert refused(client.get("/tasks", headers=bearer(made["key"])))[0] == 401


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({}, "name"),
        ({"name": " "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "X", "scope": "root"}, "scope"),
        ({"name": "X", "scope": ["read"]}, "scope"),
        ({"name": "X", "expires_in_days": 0}, "expires_in_days"),
        ({"name": "X", "expires_in_days": True}, "expires_in_days"),
        ({"name": "X", "expires_at": "2999-01-01T00:00:00"}, "expires_at"),
        ({"name": "X", "expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "X", "expires_at": "0001-01-01T00:00:00+14:00"}, "expires_at"),
        ({"name": "X", "expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
        ({"name": "X", "expires_at": 4_000_000_000}, "expires_at"),
        ({"name": "X", "expires_in_days": 1, "expires_at": "2999-01-01T00:00:00Z"}, "expires_at"),
    ],
)
def test_a_key_is_described_exactly(
    client: FlaskClient, headers: Headers, body: dict[str, Any], names: str
) -> None:
    answer = client.post("/keys", json=body, headers=headers)
    assert refused(answer) == (400, "invalid_request")
    assert answer.get_json()["error"].startswith(f"{names}:")


def test_keys_are_stored_as_hashes_only(
    make_app: MakeApp, tmp_path: Path, capfd: pytest.CaptureFixture[str], repository: Path
) -> None:
    app = make_app(data_dir=tmp_path, log_level="DEBUG")
    client = app.test_client()
    key = make_key(client, sign_in(client, str(uuid4())), scope="admin")["key"]
    task = {"prompt": f"script:\nprint {key}", "repo_url": str(repository)}
    task_id = client.post("/start-task", json=task, headers=bearer(key)).get_json()["task_id"]
    wait_until_idle(app)
    client.get(f"/tasks/{task_id}/events", headers=bearer(key))
    client.get("/tasks", headers=bearer(key + "0"))
    stop_app(app)
    digest = hashlib.sha256(key.encode()).hexdigest()
    data = stored_bytes(tmp_path)
    assert digest.encode() in data
    # The prompt is the user's own text; the key is nowhere else.
    assert key.encode() not in re.sub(rb"script:(\\n|\n)print ac_[0-9a-f]{64}", b"", data)
    assert key not in "".join(capfd.readouterr())


def test_the_redactor_knows_every_key() -> None:
    key = "ac_" + "0123456789abcdef" * 4
    for redactor in (Redactor(), Redactor().child()):
        assert redactor.redact(f"a {key} b {key[:30]} c") == "a [redacted] b [redacted] c"
        assert redactor.redact("ac_0123 mac_address") == "ac_0123 mac_address"


def test_servers_say_at_start_when_nobody_can_sign_in(
    make_app: MakeApp, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    app = make_app(**PRODUCTION, data_dir=tmp_path, log_format="json")
    assert "Nobody can sign in" in (shown := capfd.readouterr().err)
    assert "./run.sh add-user" in shown
    first_key(app)
    stop_app(app)
    for changes in (PRODUCTION, {"supabase_jwt_secret": JWT_SECRET}, {}):
        make_app(**changes, data_dir=tmp_path, log_format="json")
        assert "Nobody can sign in" not in capfd.readouterr().err
        tmp_path = tmp_path / "next"
