"""A sign-in from Supabase ends with its account, its session and its password."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import jwt
import pytest
import time_machine
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from auth import CHECK_SECONDS
from main import stop_app
from tests.conftest import MakeApp
from tests.support.github.app import services_of
from tests.support.supabase.key_server import call, outcome
from tests.support.supabase.settings import rows_in
from tests.support.supabase.stack import SupabaseStack
from utils.errors import NotFound
from utils.models.users import Scope

PASSWORD = "correct horse"

ROWS = ("supabase", "postgresql", "asked")
"""Rows in Supabase, in its database without its server key, and elsewhere with the anon key."""


@pytest.fixture(scope="module", params=ROWS)
def app(
    request: pytest.FixtureRequest, make_app: MakeApp, supabase_stack: SupabaseStack
) -> Iterator[Flask]:
    """Provide a backend whose users are the project's."""
    supabase_stack.clear()
    settings = {
        "supabase": rows_in(supabase_stack),
        "postgresql": {"database_url": supabase_stack.database_url},
        "asked": {"supabase_anon_key": supabase_stack.anon_key},
    }[request.param]
    app = make_app(
        **{
            "supabase_url": supabase_stack.url,
            "supabase_jwt_secret": supabase_stack.jwt_secret,
            **settings,
        }
    )
    yield app
    # Its heartbeats would be among the requests that later tests count.
    stop_app(app)


class Account:
    """An account of the project that is signed in to Supabase."""

    def __init__(self, stack: SupabaseStack) -> None:
        self.stack = stack
        session = stack.sign_up(f"{uuid4()}@example.com", PASSWORD)
        self.id: str = session["user"]["id"]
        self.token: str = session["access_token"]

    def delete(self) -> None:
        self.stack.change_accounts("DELETE FROM auth.users WHERE id = %s", self.id)

    def delete_softly(self) -> None:
        self.stack.change_accounts(
            "UPDATE auth.users SET deleted_at = now() WHERE id = %s", self.id
        )

    def ban(self) -> None:
        self.stack.change_accounts(
            "UPDATE auth.users SET banned_until = now() + interval '1 day' WHERE id = %s", self.id
        )

    def sign_out(self) -> None:
        self.stack.accounts_request("POST", "/logout", self.token)

    def end_session(self) -> None:
        """Sign out of this session only."""
        self.stack.accounts_request("POST", "/logout?scope=local", self.token)

    def change_password(self) -> None:
        """Change the password in another session."""
        email = jwt.decode(self.token, options={"verify_signature": False})["email"]
        other = self.stack.sign_in(email, PASSWORD)["access_token"]
        self.stack.accounts_request("PUT", "/user", other, {"password": "battery staple"})


ENDS: dict[str, tuple[Callable[[Account], None], str]] = {
    "deleted": (Account.delete, "user_unknown"),
    "deleted softly": (Account.delete_softly, "user_unknown"),
    "banned": (Account.ban, "user_banned"),
    "signed out": (Account.sign_out, "session_ended"),
    "session ended": (Account.end_session, "session_ended"),
    "password changed": (Account.change_password, "session_ended"),
}


@pytest.fixture
def account(supabase_stack: SupabaseStack) -> Account:
    return Account(supabase_stack)


def exchange(client: FlaskClient, token: str) -> TestResponse:
    return client.post("/auth/token", json={"supabase_access_token": token})


def refresh(client: FlaskClient, token: str) -> TestResponse:
    return client.post("/auth/refresh", json={"refresh_token": token})


def refusal(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json().get("code", "")


@pytest.mark.parametrize(("end", "code"), ENDS.values(), ids=ENDS)
def test_a_token_is_not_exchanged_after_the_end(
    client: FlaskClient, account: Account, end: Callable[[Account], None], code: str
) -> None:
    assert exchange(client, account.token).status_code == 200
    end(account)
    assert refusal(exchange(client, account.token)) == (401, code)


@pytest.mark.parametrize(("end", "code"), ENDS.values(), ids=ENDS)
def test_a_sign_in_is_not_refreshed_after_the_end(
    app: Flask, client: FlaskClient, account: Account, end: Callable[[Account], None], code: str
) -> None:
    first = exchange(client, account.token).get_json()["refresh_token"]
    second = refresh(client, first).get_json()["refresh_token"]
    other = Account(account.stack)
    others = exchange(client, other.token).get_json()["refresh_token"]
    end(account)
    if services_of(app).database.knows_accounts:
        deleted = "deleted" in {name for name, (one, _) in ENDS.items() if one is end}
        answer = refusal(refresh(client, second))
        assert answer == (401, "unauthenticated" if deleted else code)
        assert refresh(client, second).status_code == 401
    else:
        # It cannot be asked about again, so it ends with the token of Supabase.
        with time_machine.travel(datetime.now(UTC) + timedelta(seconds=3_620), tick=False):
            assert refresh(client, second).status_code == 401
    assert refresh(client, others).status_code == 200


@pytest.mark.parametrize(("end", "code"), ENDS.values(), ids=ENDS)
def test_the_token_itself_is_refused_within_a_minute(
    client: FlaskClient, account: Account, end: Callable[[Account], None], code: str
) -> None:
    assert outcome(client, account.token) == 200
    end(account)
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=CHECK_SECONDS), tick=False):
        assert outcome(client, account.token) == code


def test_a_deleted_account_gets_no_row(
    app: Flask, client: FlaskClient, account: Account, supabase_stack: SupabaseStack
) -> None:
    account.delete()
    for answer in (call(client, account.token), exchange(client, account.token)):
        assert refusal(answer) == (401, "user_unknown")
    never = supabase_stack.token_for(str(uuid4()))
    assert refusal(exchange(client, never)) == (401, "user_unknown")
    database = services_of(app).database
    assert database.find_api_key("ac_1") is None
    for user_id in (account.id, jwt.decode(never, options={"verify_signature": False})["sub"]):
        with pytest.raises(NotFound):
            database.get_user(user_id)


def test_signing_out_of_one_session_leaves_the_others(
    client: FlaskClient, account: Account, supabase_stack: SupabaseStack
) -> None:
    email = jwt.decode(account.token, options={"verify_signature": False})["email"]
    other = supabase_stack.sign_in(email, PASSWORD)["access_token"]
    pair = exchange(client, other).get_json()
    account.end_session()
    assert refresh(client, pair["refresh_token"]).status_code == 200
    assert exchange(client, other).status_code == 200


def test_a_ban_that_is_over_is_no_ban(client: FlaskClient, account: Account) -> None:
    account.stack.change_accounts(
        "UPDATE auth.users SET banned_until = now() - interval '1 s' WHERE id = %s", account.id
    )
    assert exchange(client, account.token).status_code == 200


# Where rows are elsewhere, nobody can be asked about the owner of a key.
@pytest.mark.parametrize("app", ["supabase", "postgresql"], indirect=True)
@pytest.mark.parametrize("end", [Account.ban, Account.delete_softly, Account.delete])
def test_the_keys_of_an_account_end_with_it(
    app: Flask, client: FlaskClient, account: Account, end: Callable[[Account], None]
) -> None:
    services = services_of(app)
    assert exchange(client, account.token).status_code == 200
    key = services.api_keys.create(account.id, "Laptop", Scope.RUN, None)[0]
    headers = {"Authorization": f"Bearer {key}"}
    assert client.get("/tasks", headers=headers).status_code == 200
    end(account)
    code = "api_key_invalid" if end is Account.delete else "user_banned"
    assert refusal(client.get("/tasks", headers=headers)) == (401, code)


def test_anonymous_users_are_refused_everywhere(
    client: FlaskClient, supabase_stack: SupabaseStack
) -> None:
    token = supabase_stack.sign_up("", "")["access_token"]
    for answer in (call(client, token), exchange(client, token)):
        assert refusal(answer) == (401, "anonymous_not_allowed")


def test_anonymous_users_are_accepted_where_that_is_set_and_only_while_it_is(
    make_app: MakeApp, supabase_stack: SupabaseStack
) -> None:
    settings: dict[str, Any] = rows_in(
        supabase_stack, supabase_jwt_secret=supabase_stack.jwt_secret, server_silence_seconds=3600
    )
    open_app = make_app(**settings, allow_anonymous_users=True)
    token = supabase_stack.sign_up("", "")["access_token"]
    pair = exchange(open_app.test_client(), token).get_json()
    pair = refresh(open_app.test_client(), pair["refresh_token"]).get_json()
    stop_app(open_app)
    closed = make_app(**settings)
    answer = refresh(closed.test_client(), pair["refresh_token"])
    assert refusal(answer) == (401, "anonymous_not_allowed")
    stop_app(closed)


def test_a_sign_in_service_that_is_away_signs_nobody_in_or_out(
    make_app: MakeApp, supabase_stack: SupabaseStack, account: Account
) -> None:
    app = make_app(
        supabase_url="http://127.0.0.1:9",
        supabase_issuer=f"{supabase_stack.url}/auth/v1",
        supabase_jwt_secret=supabase_stack.jwt_secret,
        supabase_anon_key=supabase_stack.anon_key,
    )
    answer = exchange(app.test_client(), account.token)
    assert refusal(answer) == (503, "sign_in_unavailable")
    assert int(answer.headers["Retry-After"]) > 0


def test_without_a_way_to_ask_a_sign_in_ends_with_the_token_it_came_from(
    make_app: MakeApp, supabase_stack: SupabaseStack, account: Account
) -> None:
    app = make_app(supabase_url=supabase_stack.url, supabase_jwt_secret=supabase_stack.jwt_secret)
    client = app.test_client()
    token = exchange(client, account.token).get_json()["refresh_token"]
    start = datetime.now(UTC)
    for minutes, status in ((20, 200), (59, 200), (61, 401)):
        with time_machine.travel(start + timedelta(minutes=minutes), tick=False):
            answer = refresh(client, token)
            assert answer.status_code == status
            token = answer.get_json().get("refresh_token", token)
