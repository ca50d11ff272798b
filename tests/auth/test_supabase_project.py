"""Sign-in with a complete Supabase project: accounts, keys and tables."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from main import stop_app
from tests.conftest import MakeApp
from tests.support.supabase.key_server import call, outcome
from tests.support.supabase.stack import SupabaseStack


@pytest.fixture(scope="module")
def client(make_app: MakeApp, supabase_stack: SupabaseStack) -> Iterator[FlaskClient]:
    """Provide a backend with its users and rows in the project."""
    supabase_stack.clear()
    settings = {name.lower(): value for name, value in supabase_stack.environment.items()}
    app = make_app(**settings)
    yield app.test_client()
    # Its heartbeats would be among the requests that later tests count.
    stop_app(app)
    supabase_stack.sign_with("HS256")


def refresh(client: FlaskClient, token: str) -> TestResponse:
    return client.post("/auth/refresh", json={"refresh_token": token})


@pytest.mark.parametrize("algorithm", ["HS256", "ES256"])
def test_an_account_signs_in_refreshes_and_signs_out(
    client: FlaskClient, supabase_stack: SupabaseStack, algorithm: str
) -> None:
    supabase_stack.sign_with(algorithm)
    session = supabase_stack.sign_up(f"{algorithm}@example.com", "correct horse")
    token = session["access_token"]
    assert outcome(client, token) == 200
    first = client.post("/auth/token", json={"supabase_access_token": token}).get_json()
    second = refresh(client, first["refresh_token"]).get_json()
    assert outcome(client, second["access_token"]) == 200
    client.post("/auth/logout", json={"refresh_token": second["refresh_token"]})
    assert refresh(client, second["refresh_token"]).status_code == 401


def test_a_refresh_token_used_twice_ends_its_sign_in_only(
    client: FlaskClient, supabase_stack: SupabaseStack
) -> None:
    token = supabase_stack.sign_up("twice@example.com", "correct horse")["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    first, other = (
        client.post("/auth/token", headers=bearer).get_json()["refresh_token"] for _ in range(2)
    )
    second = refresh(client, first).get_json()["refresh_token"]
    third = refresh(client, second).get_json()["refresh_token"]
    assert [refresh(client, used).status_code for used in (first, third, other)] == [401, 401, 200]


def stored_emails(stack: SupabaseStack, user: str) -> list[dict[str, str]]:
    with stack.as_service() as service:
        params = {"id": f"eq.{user}", "select": "email"}
        rows: list[dict[str, str]] = service.get("/users", params=params).json()
    return rows


def test_an_account_that_has_no_row_yet_gets_one(
    client: FlaskClient, supabase_stack: SupabaseStack
) -> None:
    user = supabase_stack.add_auth_user()
    with supabase_stack.as_service() as service:
        service.delete("/users", params={"id": f"eq.{user}"}).raise_for_status()
    assert outcome(client, supabase_stack.token_for(user, email="late@example.com")) == 200
    assert stored_emails(supabase_stack, user) == [{"email": "late@example.com"}]


def test_while_the_tables_are_away_nobody_is_signed_out(
    client: FlaskClient, supabase_stack: SupabaseStack
) -> None:
    session = supabase_stack.sign_up("away@example.com", "correct horse")["access_token"]
    bearer = {"Authorization": f"Bearer {session}"}
    user = supabase_stack.add_auth_user()
    pair = client.post("/auth/token", headers=bearer).get_json()
    supabase_stack.stop_rest()
    try:
        answers = [
            call(client, supabase_stack.token_for(user)),
            client.post("/auth/token", headers=bearer),
            refresh(client, pair["refresh_token"]),
        ]
    finally:
        supabase_stack.start_rest()
    for answer in answers:
        assert (answer.status_code, answer.get_json()["code"]) == (503, "database_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    assert outcome(client, supabase_stack.token_for(user)) == 200
    assert refresh(client, pair["refresh_token"]).status_code == 200
