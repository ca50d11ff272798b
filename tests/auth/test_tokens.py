"""Authentication of callers: the server's own tokens, Supabase's tokens, and trust mode."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import pytest
import time_machine
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from main import stop_app
from tests.conftest import JWT_SECRET, SECURE, SUPABASE_SECRET, Headers, MakeApp, sign_in
from tests.support.stored_files import stored_bytes
from utils.config.settings import Settings


def post(client: FlaskClient, path: str, body: Any, headers: Headers | None = None) -> TestResponse:
    return client.post(path, json=body, headers=headers)


def supabase_token(user_id: str, **changes: Any) -> str:
    claims = {
        "sub": user_id,
        "aud": "authenticated",
        "role": "authenticated",
        "exp": int(time.time()) + 600,
        "email": "someone@example.com",
    }
    return jwt.encode(claims | changes, SUPABASE_SECRET, algorithm="HS256")


def own_token(user_id: str, secret: str = JWT_SECRET, **changes: Any) -> str:
    now = int(time.time())
    claims = {
        "user_id": user_id,
        "sub": user_id,
        "type": "access",
        "iat": now,
        "exp": now + 600,
        "jti": "1",
    }
    return jwt.encode(claims | changes, secret, algorithm="HS256")


def unsigned_token(user_id: str) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    claims = {"user_id": user_id, "sub": user_id, "type": "access", "exp": 9_999_999_999}
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims | {'iat': 1, 'jti': '1'})}."


def bearer(token: str) -> Headers:
    return {"Authorization": f"Bearer {token}"}


def code_of(answer: TestResponse) -> str:
    assert answer.status_code == 401, answer.get_json()
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    return str(answer.get_json()["code"])


def test_in_trust_mode_a_user_id_is_exchanged_for_a_token_pair(
    client: FlaskClient, user: str
) -> None:
    pair = post(client, "/api/auth/token", {"user_id": user}).get_json()
    claims = jwt.decode(pair["access_token"], options={"verify_signature": False})
    assert claims["user_id"] == claims["sub"] == user
    assert claims["type"] == "access"
    assert pair["token_type"] == "Bearer"
    assert pair["expires_in"] == claims["exp"] - claims["iat"] == 3600
    verified = client.get("/auth/verify", headers=bearer(pair["access_token"])).get_json()
    assert verified == {"status": "success", "valid": True, "user_id": user}


def test_a_user_id_has_one_spelling(client: FlaskClient, user: str) -> None:
    verified = client.get("/auth/verify", headers={"X-User-ID": user.upper()}).get_json()
    assert verified["user_id"] == user


SOMEBODY = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"


@pytest.mark.parametrize("given", ["", "me", "1", f"{{{SOMEBODY}}}", SOMEBODY.replace("-", "")])
def test_a_user_id_must_be_a_uuid(client: FlaskClient, given: str) -> None:
    assert code_of(client.get("/tasks", headers={"X-User-ID": given})) == "user_id_invalid"
    answer = post(client, "/auth/token", {"user_id": given})
    assert answer.status_code == 400
    assert answer.get_json()["error"].startswith("user_id: must be a UUID")


def test_signing_in_without_anything_is_refused(client: FlaskClient) -> None:
    for answer in (client.post("/auth/token"), post(client, "/auth/token", {})):
        assert answer.status_code == 400
        assert answer.get_json()["error"] == "user_id: is required."


def test_a_wrong_token_is_refused_even_next_to_a_trusted_user_id(
    client: FlaskClient, user: str
) -> None:
    headers = {"X-User-ID": user, **bearer("nonsense")}
    assert code_of(client.get("/tasks", headers=headers)) == "token_invalid"


def test_a_token_speaks_for_its_own_user_only(client: FlaskClient, headers: Headers) -> None:
    other = str(uuid4())
    body = {"name": "Mine", "repo_url": "https://github.com/o/n"}
    created = post(client, "/projects", body, headers | {"X-User-ID": other}).get_json()
    assert created["project"]["user_id"] != other


def test_an_access_token_expires(client: FlaskClient, user: str) -> None:
    pair = post(client, "/auth/token", {"user_id": user}).get_json()
    headers = bearer(pair["access_token"])
    assert client.get("/tasks", headers=headers).status_code == 200
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=3601), tick=False):
        assert code_of(client.get("/tasks", headers=headers)) == "token_expired"


@pytest.mark.parametrize(
    "claims",
    [
        {"type": "refresh"},
        {"sub": "11111111-1111-1111-1111-111111111111"},
        {"exp": None},
        {"nbf": 9_999_999_999},
    ],
)
def test_a_token_of_another_kind_is_refused(
    client: FlaskClient, user: str, claims: dict[str, Any]
) -> None:
    token = own_token(user, **claims)
    assert code_of(client.get("/tasks", headers=bearer(token))) == "token_invalid"


@pytest.mark.parametrize("claim", ["user_id", "sub", "type", "iat", "exp", "jti"])
def test_a_token_without_one_of_its_claims_is_refused(
    client: FlaskClient, user: str, claim: str
) -> None:
    claims = jwt.decode(own_token(user), options={"verify_signature": False})
    del claims[claim]
    token = jwt.encode(claims, JWT_SECRET, algorithm="HS256")
    assert code_of(client.get("/tasks", headers=bearer(token))) == "token_invalid"


def test_forged_tokens_are_refused(client: FlaskClient, user: str) -> None:
    good = own_token(user)
    header, payload, signature = good.split(".")
    forged = [
        unsigned_token(user),
        own_token(user, "another-secret-of-enough-characters"),
        f"{header}.{payload}.{signature[::-1]}",
        f"{header}.{payload}.",
        good + "x",
        "\xe9.\xe9.\xe9",
        "..",
        jwt.encode({"user_id": user, "type": "access"}, JWT_SECRET + JWT_SECRET, algorithm="HS512"),
        supabase_token(user),
    ]
    assert client.get("/tasks", headers=bearer(good)).status_code == 200
    for token in forged:
        assert code_of(client.get("/tasks", headers=bearer(token))) == "token_invalid"


def test_other_authorization_schemes_are_refused(client: FlaskClient) -> None:
    for header in ("Basic dXNlcjpwYXNz", "Bearer", "Bearer ", ""):
        answer = client.get("/tasks", headers={"Authorization": header})
        assert code_of(answer) == "token_invalid"


def refresh(client: FlaskClient, token: str) -> TestResponse:
    return post(client, "/auth/refresh", {"refresh_token": token})


def later(**difference: float) -> time_machine.travel:
    return time_machine.travel(datetime.now(UTC) + timedelta(**difference), tick=False)


@pytest.mark.parametrize("trust", [False, True])
def test_a_refresh_token_works_once_and_reuse_ends_the_sign_in(
    make_app: MakeApp, user: str, trust: bool
) -> None:
    client = make_app(**SECURE | {"trust_user_id": trust}).test_client()
    proof = bearer(supabase_token(user))
    first, other = (
        client.post("/auth/token", headers=proof).get_json()["refresh_token"] for _ in range(2)
    )
    second = refresh(client, first).get_json()
    assert client.get("/tasks", headers=bearer(second["access_token"])).status_code == 200
    with later(seconds=31):
        code_of(refresh(client, first))
        code_of(refresh(client, second["refresh_token"]))
    assert refresh(client, other).status_code == 200


def test_where_a_bare_user_id_is_believed_a_refresh_token_stays_in_use(
    client: FlaskClient, user: str
) -> None:
    first = post(client, "/auth/token", {"user_id": user}).get_json()["refresh_token"]
    for days in range(0, 18, 6):
        with later(days=days):
            pair = refresh(client, first).get_json()
            assert pair["refresh_token"] == first
            headers = bearer(pair["access_token"])
            verified = client.get("/auth/verify", headers=headers).get_json()
            assert verified["user_id"] == user
    with later(days=12 + 7, seconds=1):
        code_of(refresh(client, first))


def test_a_refresh_token_is_single_use_again_once_user_ids_are_not_believed(
    make_app: MakeApp, tmp_path: Path, user: str
) -> None:
    app = make_app(data_dir=tmp_path)
    first = post(app.test_client(), "/auth/token", {"user_id": user}).get_json()["refresh_token"]
    assert refresh(app.test_client(), first).status_code == 200
    stop_app(app)
    client = make_app(data_dir=tmp_path, **SECURE).test_client()
    assert refresh(client, first).get_json()["refresh_token"] != first
    with later(seconds=31):
        code_of(refresh(client, first))


def test_signing_out_revokes_the_refresh_token(client: FlaskClient, user: str) -> None:
    token = post(client, "/auth/token", {"user_id": user}).get_json()["refresh_token"]
    for _ in range(2):
        answer = post(client, "/auth/logout", {"refresh_token": token})
        assert answer.get_json() == {"status": "success"}
    code_of(post(client, "/auth/refresh", {"refresh_token": token}))


def test_a_refresh_token_expires(client: FlaskClient, user: str) -> None:
    token = post(client, "/auth/token", {"user_id": user}).get_json()["refresh_token"]
    with time_machine.travel(datetime.now(UTC) + timedelta(days=7, seconds=1), tick=False):
        code_of(post(client, "/auth/refresh", {"refresh_token": token}))


def test_refresh_tokens_are_stored_as_hashes_only(
    client: FlaskClient, user: str, app_folder: Path
) -> None:
    token = post(client, "/auth/token", {"user_id": user}).get_json()["refresh_token"]
    assert token.encode() not in stored_bytes(app_folder)


def test_secure_mode_says_what_to_send(secure_client: FlaskClient, user: str) -> None:
    by_header = secure_client.get("/tasks", headers={"X-User-ID": user})
    assert code_of(by_header) == "token_missing"
    assert "Authorization: Bearer" in by_header.get_json()["error"]
    by_body = post(secure_client, "/auth/token", {"user_id": user})
    assert code_of(by_body) == "token_missing"
    assert "supabase_access_token" in by_body.get_json()["error"]


def test_a_supabase_token_is_believed_on_every_route(secure_client: FlaskClient, user: str) -> None:
    headers = bearer(supabase_token(user))
    verified = secure_client.get("/auth/verify", headers=headers).get_json()
    assert verified["user_id"] == user


def test_a_supabase_token_is_exchanged_for_a_pair(secure_client: FlaskClient, user: str) -> None:
    token = supabase_token(user)
    answers = [
        secure_client.post("/auth/token", headers=bearer(token)),
        post(secure_client, "/auth/token", {"supabase_access_token": token}),
        post(secure_client, "/auth/token", {"user_id": str(uuid4())}, bearer(token)),
    ]
    for answer in answers:
        headers = bearer(answer.get_json()["access_token"])
        assert secure_client.get("/auth/verify", headers=headers).get_json()["user_id"] == user


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"exp": 1_600_000_000}, "token_expired"),
        ({"aud": "anon"}, "token_invalid"),
        ({"sub": "not-a-uuid"}, "token_invalid"),
    ],
)
def test_other_supabase_tokens_are_refused(
    secure_client: FlaskClient, user: str, changes: dict[str, Any], code: str
) -> None:
    token = supabase_token(user, **changes)
    assert code_of(secure_client.get("/tasks", headers=bearer(token))) == code
    assert code_of(post(secure_client, "/auth/token", {"supabase_access_token": token})) == code


def test_our_own_token_is_not_exchanged_for_another_pair(
    secure_client: FlaskClient, user: str
) -> None:
    answer = secure_client.post("/auth/token", headers=bearer(own_token(user)))
    assert code_of(answer) == "token_invalid"


def test_trust_mode_answers_to_this_machine_only(make_app: MakeApp, user: str) -> None:
    client = make_app().test_client()
    for host in ("localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST"):
        assert client.get("/ping", headers={"Host": host}).status_code == 200
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", ""):
        answer = client.get("/tasks", headers={"Host": host, "X-User-ID": user})
        assert answer.status_code == 400
        assert answer.get_json()["code"] == "host_not_allowed"


def test_secure_mode_answers_to_any_host(secure_client: FlaskClient) -> None:
    assert secure_client.get("/ping", headers={"Host": "api.example.com"}).status_code == 200


def test_trust_is_the_default_only_for_development_on_one_machine() -> None:
    def trusts(**changes: Any) -> bool:
        return Settings.model_validate(changes).trusts_user_id

    assert trusts()
    assert not trusts(supabase_url="https://x.supabase.co")
    assert not trusts(supabase_jwt_secret=SUPABASE_SECRET)
    assert not trusts(host="0.0.0.0")
    assert not trusts(environment="production", sandbox="local", jwt_secret=JWT_SECRET)


def test_the_signing_secret_is_made_once_and_kept_private(
    make_app: MakeApp, tmp_path: Path, user: str
) -> None:
    app = make_app(data_dir=tmp_path, jwt_secret=None)
    headers = sign_in(app.test_client(), user)
    stop_app(app)
    client = make_app(data_dir=tmp_path, jwt_secret=None).test_client()
    assert client.get("/tasks", headers=headers).status_code == 200
    assert (tmp_path / "jwt_secret").stat().st_mode & 0o777 == 0o600


def test_a_deleted_user_is_not_verified(client: FlaskClient) -> None:
    created = client.post("/test-users", json={}).get_json()
    headers = bearer(created["tokens"]["access_token"])
    assert client.get("/auth/verify", headers=headers).status_code == 200
    client.delete(f"/test-users/{created['user']['id']}")
    assert code_of(client.get("/auth/verify", headers=headers)) == "user_unknown"


def test_trust_mode_can_be_chosen_next_to_supabase(make_app: MakeApp, user: str) -> None:
    client = make_app(**SECURE | {"trust_user_id": True}).test_client()
    assert client.get("/tasks", headers={"X-User-ID": user}).status_code == 200
    assert client.get("/tasks", headers=bearer(supabase_token(user))).status_code == 200
