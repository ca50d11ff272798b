"""Tokens whose headers and claims have unexpected types are refused, and nothing else happens."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from jwt.utils import base64url_encode

from tests.conftest import JWT_SECRET, SUPABASE_SECRET, MakeApp
from tests.support.suite.generated import generated
from tests.support.supabase.key_server import Key, KeyServer

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 10**30, 1.5, 1e308, "", "HS256", "\0", "é", [], ["HS256"], [[]], {},
    {"a": 1}, float("inf"), float("nan"), float("-inf"),
)  # fmt: skip
HEADERS = ("alg", "kid", "typ", "crit", "b64", "jku", "cty")
SUPABASE_CLAIMS = (
    "iss", "sub", "aud", "role", "exp", "iat", "nbf", "email", "session_id", "is_anonymous",
)  # fmt: skip
OWN_CLAIMS = ("user_id", "sub", "type", "iat", "exp", "jti", "nbf", "aud", "iss")
DEEP = b"[" * 6_000


@pytest.fixture(scope="module")
def project() -> Iterator[KeyServer]:
    """Provide a project with a key. Tests must not change it."""
    with KeyServer(Key("ES256")) as server:
        yield server


@pytest.fixture(scope="module")
def client(make_app: MakeApp, project: KeyServer) -> FlaskClient:
    """Provide a backend that accepts its own tokens and both kinds of Supabase's."""
    settings = {"supabase_url": project.url, "supabase_jwt_secret": SUPABASE_SECRET}
    return make_app(**settings).test_client()


def token_of(header: bytes, payload: bytes, secret: str) -> str:
    parts = [base64url_encode(header), base64url_encode(payload)]
    signature = hmac.digest(secret.encode(), b".".join(parts), "sha256")
    return b".".join([*parts, base64url_encode(signature)]).decode()


def signed(claims: Any, secret: str, **header: Any) -> str:
    head = {"alg": "HS256", "typ": "JWT", **header}
    return token_of(json.dumps(head).encode(), json.dumps(claims).encode(), secret)


def statuses(client: FlaskClient, token: str) -> set[int]:
    """Send a token in each place that takes one; return the statuses."""
    bearer = {"Authorization": f"Bearer {token}"}
    return {
        client.get("/auth/verify", headers=bearer).status_code,
        client.post("/auth/token", headers=bearer).status_code,
        client.post("/auth/token", json={"supabase_access_token": token[:4_096]}).status_code,
    }


def own_claims(project: KeyServer, user: str) -> dict[str, Any]:
    claims = project.claims(user)
    kept = {name: claims[name] for name in ("sub", "iat", "exp")}
    return {**kept, "user_id": user, "type": "access", "jti": "1"}


@pytest.mark.parametrize("name", HEADERS)
def test_no_header_is_a_server_error(
    client: FlaskClient, project: KeyServer, user: str, name: str
) -> None:
    for value in ODD:
        for secret, claims in (
            (SUPABASE_SECRET, project.claims(user)),
            ("another-secret-of-enough-characters", own_claims(project, user)),
        ):
            assert statuses(client, signed(claims, secret, **{name: value})) <= {200, 401}, value


@pytest.mark.parametrize("name", SUPABASE_CLAIMS)
def test_no_claim_of_supabase_is_a_server_error(
    client: FlaskClient, project: KeyServer, user: str, name: str
) -> None:
    for value in ODD:
        claims = {**project.claims(user), name: value}
        assert statuses(client, signed(claims, SUPABASE_SECRET)) <= {200, 401}, value


@pytest.mark.parametrize("name", OWN_CLAIMS)
def test_no_claim_of_this_server_is_a_server_error(
    client: FlaskClient, project: KeyServer, user: str, name: str
) -> None:
    for value in ODD:
        claims = {**own_claims(project, user), name: value}
        assert statuses(client, signed(claims, JWT_SECRET)) <= {200, 401}, value


@pytest.mark.parametrize(
    "part", [b"", b"x", b"\xff", b"[]", b"null", b"1", b'"HS256"', DEEP, b"1" * 5_000]
)
def test_parts_that_are_no_objects_are_refused(client: FlaskClient, part: bytes) -> None:
    for secret in (JWT_SECRET, SUPABASE_SECRET):
        assert statuses(client, token_of(part, b"{}", secret)) == {401}
        assert statuses(client, token_of(b'{"alg": "HS256"}', part, secret)) == {401}


@pytest.mark.parametrize(
    "claim", [{"exp": True}, {"exp": "9999999999"}, {"session_id": 7}, {"session_id": "x"}]
)
def test_a_claim_of_another_type_is_no_claim(
    client: FlaskClient, project: KeyServer, user: str, claim: dict[str, Any]
) -> None:
    assert statuses(client, jwt.encode(project.claims(user), SUPABASE_SECRET)) == {200}
    assert statuses(client, signed({**project.claims(user), **claim}, SUPABASE_SECRET)) == {401}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=5,
)


def test_generated_tokens_are_refused(
    client: FlaskClient, project: KeyServer, user: str, runs_all: bool
) -> None:
    @generated(300 if runs_all else 30)
    @given(st.sampled_from(HEADERS), json_values, st.sampled_from(SUPABASE_CLAIMS), json_values)
    def refused_or_accepted(header: str, value: Any, claim: str, content: Any) -> None:
        claims = {**project.claims(user), claim: content}
        token = signed(claims, SUPABASE_SECRET, **{header: value})
        assert statuses(client, token) <= {200, 401}

    refused_or_accepted()
