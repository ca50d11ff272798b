"""Public keys of Supabase are cached, and rotated keys are found."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import jwt
import pytest
from flask.testing import FlaskClient
from jwt.utils import base64url_encode

from tests.conftest import SUPABASE_SECRET, MakeApp
from tests.support.supabase.key_server import Key, KeyServer, call, later, new_token, outcome
from tests.support.waiting import eventually
from utils.auth import signing_keys as supabase_keys

# Shorter than the fetch timeout; both leave room for a busy machine.
AT_ONCE_SECONDS = 20.0
PATIENCE_SECONDS = 60.0


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extend the time that the backend waits for a response."""
    monkeypatch.setattr(supabase_keys, "FETCH_TIMEOUT_SECONDS", PATIENCE_SECONDS)


@pytest.fixture
def own_project() -> Iterator[KeyServer]:
    """Provide a project whose keys the test may change."""
    with KeyServer(Key()) as server:
        yield server


@pytest.fixture
def own_client(make_app: MakeApp, own_project: KeyServer) -> FlaskClient:
    """Provide a backend that has not fetched the keys yet."""
    return make_app(supabase_url=own_project.url).test_client()


def outcome_at_once(client: FlaskClient, token: str) -> int | str:
    """Return the result of a request that must not wait for the project."""
    with ThreadPoolExecutor(1) as beside:
        answer = beside.submit(outcome, client, token)
        eventually(answer.done, AT_ONCE_SECONDS)
        return answer.result()


def test_a_published_secret_signs_nothing(own_client: FlaskClient, own_project: KeyServer) -> None:
    secret = base64url_encode(SUPABASE_SECRET.encode()).decode()
    own_project.others = [{"kty": "oct", "k": secret, "kid": "shared"}, {"kty": "new"}, 1]
    claims = own_project.claims(str(uuid4()))
    token = jwt.encode(claims, SUPABASE_SECRET, "HS256", {"kid": "shared"})
    assert outcome(own_client, new_token(own_project)) == 200
    assert outcome(own_client, token) == "token_invalid"


def test_odd_keys_hide_no_other_key(own_client: FlaskClient, own_project: KeyServer) -> None:
    good = own_project.keys[0].published
    odd: tuple[Any, ...] = (None, 1, True, [], ["sig"], {}, "x", [[]], 10**30)
    fields = ("kty", "crv", "x", "y", "alg", "use", "kid", "key_ops")
    own_project.others = [{**good, name: value} for name in fields for value in odd]
    own_project.others += [{"kty": "RSA", "n": 5, "e": "AQAB"}, {"kty": "OKP", "x": [1]}, *odd]
    assert outcome(own_client, new_token(own_project)) == 200
    # A fetch that ended with an unexpected error would be the last one.
    own_project.keys = (*own_project.keys, new := Key())
    with later(10):
        eventually(lambda: outcome(own_client, new_token(own_project, new)) == 200)


def test_a_key_is_fetched_once_for_many_tokens(
    own_client: FlaskClient, own_project: KeyServer
) -> None:
    for _ in range(5):
        assert outcome(own_client, new_token(own_project)) == 200
    assert own_project.requests == 1


def test_a_crowd_of_first_requests_makes_one_fetch(
    own_client: FlaskClient, own_project: KeyServer
) -> None:
    own_project.answering.clear()
    tokens = [new_token(own_project) for _ in range(20)]
    app = own_client.application
    with ThreadPoolExecutor(20) as crowd:
        answers = [crowd.submit(outcome, app.test_client(), token) for token in tokens]
        eventually(lambda: own_project.requests)
        own_project.answering.set()
        assert [answer.result() for answer in answers] == [200] * 20
    assert own_project.requests == 1


def test_a_rotated_key_is_picked_up_and_the_old_one_ends_with_the_memory(
    own_client: FlaskClient, own_project: KeyServer
) -> None:
    old, new = own_project.keys[0], Key("EdDSA")
    remembered = new_token(own_project)
    assert outcome(own_client, remembered) == 200
    own_project.keys = (new, old)
    with later(10):
        assert outcome(own_client, new_token(own_project, new)) == 200
        assert outcome(own_client, new_token(own_project, old)) == 200
        own_project.keys = (new,)
        assert outcome(own_client, new_token(own_project, old)) == 200
        assert own_project.requests == 2
    with later(630):
        assert outcome(own_client, new_token(own_project, old)) == "token_invalid"
        assert outcome(own_client, new_token(own_project, new)) == 200
        # A verified token stays valid until it expires.
        assert outcome(own_client, remembered) == 200
        assert own_project.requests == 3


def test_a_key_in_use_is_asked_for_again_beside_the_requests(
    own_client: FlaskClient, own_project: KeyServer
) -> None:
    assert outcome(own_client, new_token(own_project)) == 200
    own_project.answering.clear()
    with later(400):
        assert outcome_at_once(own_client, new_token(own_project)) == 200
        eventually(lambda: own_project.requests == 2)
        assert outcome_at_once(own_client, new_token(own_project)) == 200
        own_project.answering.set()
    with later(900):
        assert outcome(own_client, new_token(own_project)) == 200


def test_a_flood_of_unknown_keys_makes_few_requests(
    own_client: FlaskClient, own_project: KeyServer
) -> None:
    def flood() -> set[int | str]:
        return {outcome(own_client, new_token(own_project, Key())) for _ in range(20)}

    with later(0):
        assert outcome(own_client, new_token(own_project)) == 200
        assert flood() == {"token_invalid"}
    assert own_project.requests == 1
    with later(10):
        assert flood() == {"token_invalid"}
    assert own_project.requests == 2


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, None), (404, b""), (200, b"<html>"), (200, b"[]"), (200, b'{"keys": 1}')],
)
def test_while_the_keys_are_away_known_ones_work_and_others_are_to_come_again(
    own_client: FlaskClient, own_project: KeyServer, status: int, body: bytes | None
) -> None:
    key, new = own_project.keys[0], Key()
    assert outcome(own_client, new_token(own_project)) == 200
    own_project.status, own_project.body, own_project.keys = status, body, (key, new)
    with later(10):
        answer = call(own_client, new_token(own_project, new))
        assert (answer.status_code, answer.get_json()["code"]) == (503, "sign_in_unavailable")
        assert answer.headers["Retry-After"] == "5"
    with later(5000):
        for _ in range(3):
            assert outcome(own_client, new_token(own_project, key)) == 200
            assert outcome(own_client, new_token(own_project, new)) == "sign_in_unavailable"
        eventually(lambda: own_project.requests == 3)
    own_project.status, own_project.body = 200, None
    with later(5010):
        eventually(lambda: outcome(own_client, new_token(own_project, new)) == 200)


def test_a_project_that_was_never_reached_is_not_the_callers_fault(make_app: MakeApp) -> None:
    with KeyServer(Key()) as gone:
        token = new_token(gone)
    client = make_app(supabase_url=gone.url).test_client()
    exchanged = client.post("/auth/token", json={"supabase_access_token": token})
    for answer in (call(client, token), exchanged):
        assert (answer.status_code, answer.get_json()["code"]) == (503, "sign_in_unavailable")
    assert outcome(client, "nonsense") == "token_invalid"


def test_a_project_that_does_not_answer_is_waited_for_once(
    own_client: FlaskClient, own_project: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_project.answering.clear()
    with monkeypatch.context() as impatient:
        impatient.setattr(supabase_keys, "FETCH_TIMEOUT_SECONDS", 0.1)
        assert outcome(own_client, new_token(own_project)) == "sign_in_unavailable"
    with later(10):
        for _ in range(3):
            answer = outcome_at_once(own_client, new_token(own_project))
            assert answer == "sign_in_unavailable"
    # One background fetch follows; it may have arrived by now or not.
    assert own_project.requests in {1, 2}
