"""Verification of Supabase access tokens with the published keys."""

from __future__ import annotations

import hmac
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import jwt
import pytest
from flask.testing import FlaskClient
from jwt.utils import base64url_encode

from tests.conftest import JWT_SECRET, SUPABASE_SECRET, MakeApp
from tests.support.supabase.key_server import Json, Key, KeyServer, call, later, new_token, outcome
from utils.api.endpoint import Services

ALGORITHMS = ("ES256", "RS256", "EdDSA")
KEYS = {algorithm: Key(algorithm) for algorithm in ALGORITHMS}


@pytest.fixture(scope="module")
def project() -> Iterator[KeyServer]:
    """Provide a project with a key of each kind. Tests must not change it."""
    with KeyServer(*KEYS.values()) as server:
        yield server


@pytest.fixture(scope="module")
def client(make_app: MakeApp, project: KeyServer) -> FlaskClient:
    """Provide a backend with the project's URL and shared secret."""
    settings = {"supabase_url": project.url, "supabase_jwt_secret": SUPABASE_SECRET}
    return make_app(**settings).test_client()


def signed_with_public_half(key: Key, claims: Json) -> str:
    """Return a token signed by HMAC with a public key, which libraries refuse to create."""
    header = json.dumps({"alg": "HS256", "typ": "JWT", "kid": key.id})
    parts = [base64url_encode(part.encode()) for part in (header, json.dumps(claims))]
    signature = hmac.digest(key.public_pem, b".".join(parts), "sha256")
    return b".".join([*parts, base64url_encode(signature)]).decode()


def unsigned(claims: Json, key_id: str) -> str:
    return jwt.encode(claims, None, "none", {"kid": key_id})  # type: ignore[arg-type]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_kind_of_key_is_accepted_on_every_route(
    client: FlaskClient, project: KeyServer, user: str, algorithm: str
) -> None:
    answer = call(client, KEYS[algorithm].sign(project.claims(user)))
    assert answer.get_json() == {"status": "success", "valid": True, "user_id": user}


def test_a_shared_secret_works_beside_the_keys(
    client: FlaskClient, project: KeyServer, user: str
) -> None:
    token = jwt.encode(project.claims(user), SUPABASE_SECRET, "HS256", {"kid": "legacy"})
    assert outcome(client, token) == 200


def test_a_token_is_exchanged_for_a_pair_and_its_user_has_a_row(
    client: FlaskClient, project: KeyServer, user: str
) -> None:
    token = KEYS["ES256"].sign(project.claims(user))
    pair = client.post("/auth/token", json={"supabase_access_token": token}).get_json()
    assert outcome(client, pair["access_token"]) == 200
    services: Services = client.application.extensions["services"]
    assert services.database.get_user(user).email == "someone@example.com"
    refreshed = client.post("/auth/refresh", json={"refresh_token": pair["refresh_token"]})
    assert outcome(client, refreshed.get_json()["access_token"]) == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"email": ""},
        {"email": ["someone@example.com"]},
        {"email": "x" * 400},
        {"email": "a\0b@example.com"},
        {"session_id": ""},
        {"email": None, "phone": "49123456"},
        {"aud": ["authenticated", "other"]},
    ],
)
def test_users_without_an_address_sign_in_too(
    client: FlaskClient, project: KeyServer, user: str, changes: Json
) -> None:
    assert outcome(client, KEYS["ES256"].sign(project.claims(user, **changes))) == 200
    services: Services = client.application.extensions["services"]
    address = None if "email" in changes else "someone@example.com"
    assert services.database.get_user(user).email == address


def test_a_clock_that_is_a_little_ahead_does_no_harm(
    client: FlaskClient, project: KeyServer, user: str
) -> None:
    with later(-5):
        assert outcome(client, KEYS["ES256"].sign(project.claims(user, iat=None))) == 200
    with later(0):
        now = int(datetime.now(UTC).timestamp())
        assert outcome(client, KEYS["ES256"].sign(project.claims(user, iat=now + 5))) == 200
        assert outcome(client, KEYS["ES256"].sign(project.claims(user, exp=now - 5))) == 200


@pytest.mark.parametrize("algorithm", ["ES256", "HS256"])
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"aud": "anon"}, "token_invalid"),
        ({"aud": None}, "token_invalid"),
        ({"iss": "https://other.supabase.co/auth/v1"}, "token_invalid"),
        ({"iss": "supabase"}, "token_invalid"),
        ({"iss": None}, "token_invalid"),
        ({"role": "anon"}, "token_invalid"),
        ({"role": "service_role"}, "token_invalid"),
        ({"role": None}, "token_invalid"),
        ({"exp": None}, "token_invalid"),
        ({"exp": 1_600_000_000}, "token_expired"),
        ({"iat": 9_999_999_999}, "token_invalid"),
        ({"sub": None}, "token_invalid"),
        ({"sub": "someone"}, "token_invalid"),
        ({"sub": "11111111111111111111111111111111"}, "token_invalid"),
        ({"is_anonymous": True}, "anonymous_not_allowed"),
        ({"is_anonymous": "false"}, "anonymous_not_allowed"),
    ],
)
def test_tokens_for_another_purpose_are_refused(
    client: FlaskClient, project: KeyServer, user: str, changes: Json, code: str, algorithm: str
) -> None:
    claims = project.claims(user, **changes)
    token = (
        jwt.encode(claims, SUPABASE_SECRET) if algorithm == "HS256" else KEYS["ES256"].sign(claims)
    )
    assert outcome(client, token) == code
    exchanged = client.post("/auth/token", json={"supabase_access_token": token})
    assert (exchanged.status_code, exchanged.get_json()["code"]) == (401, code)


def test_forged_tokens_are_refused(client: FlaskClient, project: KeyServer, user: str) -> None:
    claims, good = project.claims(user), KEYS["RS256"]
    stranger = Key("RS256")
    forged = [
        stranger.sign(claims),
        stranger.sign(claims, good.id),
        Key("ES256").sign(claims, good.id),
        KEYS["ES256"].sign(claims, good.id),
        unsigned(claims, good.id),
        signed_with_public_half(good, claims),
        jwt.encode(claims, JWT_SECRET, "HS256"),
        jwt.encode(claims, SUPABASE_SECRET * 2, "HS512", {"kid": good.id}),
        jwt.encode(claims, SUPABASE_SECRET * 2, "HS512"),
    ]
    assert outcome(client, good.sign(claims)) == 200
    assert [outcome(client, token) for token in forged] == ["token_invalid"] * len(forged)


def test_a_database_that_is_away_is_not_the_callers_fault(
    make_app: MakeApp, project: KeyServer
) -> None:
    client = make_app(supabase_url=project.url).test_client()
    services: Services = client.application.extensions["services"]
    file = next(services.settings.data_dir.glob("*.db"))
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("ALTER TABLE users RENAME TO away")
    token = new_token(project)
    answers = [
        call(client, token),
        client.post("/auth/token", json={"supabase_access_token": token}),
    ]
    for answer in answers:
        assert (answer.status_code, answer.get_json()["code"]) == (503, "database_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
