"""Checks of a token report its permissions and change nothing on GitHub."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.auth.test_tokens import bearer, own_token
from tests.conftest import SECURE, MakeApp
from tests.support.backends import USER, Repository, Row
from tests.support.github.names import LOGIN, TOKEN
from tests.support.pull_requests import Hosted, Hub, actions_token
from utils.api.endpoint import TOKEN_HEADER

pytestmark = pytest.mark.local_only("no task runs")


@pytest.fixture(scope="module")
def known(hub: Hub, small_origin: Repository) -> Hosted:
    return hub.host(small_origin)


class Clock:
    """A clock that goes on when it is told to; `now` is in seconds."""

    now = 0.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


def validate(hosted: Hosted, token: str = TOKEN, **body: Any) -> Row:
    """Ask without saying who asks, as the older page does."""
    response = hosted.backend.app.test_client().post(
        "/api/validate-token", json={"github_token": token, **body}
    )
    return {**response.get_json(), "http_status": response.status_code}


def test_a_token_is_told_with_its_repository(known: Hosted) -> None:
    known.github.requests.clear()
    answer = validate(known, repo_url=known.url)
    assert (answer["http_status"], answer["user"], answer["scopes"]) == (200, LOGIN, ["repo"])
    assert answer["repo"] == {
        "name": known.name,
        "private": False,
        "archived": False,
        "default_branch": "main",
        "permissions": {
            "read": True,
            "write": True,
            "admin": False,
            "read_branches": True,
            "create_branches": True,
        },
    }
    assert "can push" in answer["message"]
    assert {request.method for request in known.github.requests} == {"GET"}


def test_without_a_repository_the_user_is_told(known: Hosted) -> None:
    answer = validate(known)
    assert (answer["http_status"], answer["user"], answer["repo"]) == (200, LOGIN, None)


@pytest.mark.parametrize("address", ["", " ", None])
def test_a_blank_address_is_none(known: Hosted, address: str | None) -> None:
    answer = validate(known, repo_url=address)
    assert (answer["http_status"], answer["user"], answer["repo"]) == (200, LOGIN, None)


def test_a_reader_cannot_create_branches(known: Hosted) -> None:
    known.github.add_token("ghp_reader123", "bob")
    answer = validate(known, "ghp_reader123", repo_url=known.url)
    rights = answer["repo"]["permissions"]
    assert (rights["read"], rights["write"], rights["create_branches"]) == (True, False, False)
    assert "cannot push" in answer["message"]


def test_a_fine_grained_token_is_not_said_to_be_enough(known: Hosted) -> None:
    facts = {"scopes": None, "repositories": frozenset({known.name})}
    known.github.add_token("github_pat_12", LOGIN, **facts)
    answer = validate(known, "github_pat_12", repo_url=known.url)
    assert (answer["scopes"], answer["http_status"]) == (None, 200)
    assert "fine-grained" in answer["message"]


def test_the_permissions_of_a_github_actions_token_are_reported_as_unknown(known: Hosted) -> None:
    token = actions_token(known)
    answer = validate(known, token, repo_url=known.url)
    assert (answer["http_status"], answer["user"], answer["scopes"]) == (200, None, None)
    assert "GitHub App" in answer["message"]
    assert "does not report" in answer["message"]
    rights = answer["repo"]["permissions"]
    assert (rights["read"], rights["write"], rights["admin"]) == (True, True, False)
    assert validate(known, token)["message"].startswith("The token is valid.")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"github_token": "ghp_unknown12"}, 403, "github_token_refused"),
        ({"github_token": ""}, 400, "invalid_request"),
        ({"github_token": "two words"}, 400, "invalid_request"),
        ({"repo_url": "https://github.com/o/n"}, 400, "repository_not_on_github"),
        ({"repo_url": "/srv/git/demo"}, 400, "repository_not_on_github"),
        ({"repo_url": "{}/team/none"}, 404, "repository_not_found"),
    ],
)
def test_what_is_wrong_is_told(known: Hosted, body: dict[str, str], status: int, code: str) -> None:
    sent = {name: text.format(known.github.url) for name, text in body.items()}
    answer = validate(known, **{"token": sent.pop("github_token", TOKEN), **sent})
    assert (answer["http_status"], answer["code"]) == (status, code)
    assert "ghp_" not in answer["error"]


def test_elsewhere_the_message_is_about_the_address_only(known: Hosted) -> None:
    answer = validate(known, repo_url="https://git.example/o/n")
    assert known.github.host in answer["error"]
    assert "/tasks/" not in answer["error"]


def test_a_moved_repository_is_told_with_its_new_name(hub: Hub, small_origin: Repository) -> None:
    hosted = hub.host(small_origin)
    hosted.github.move(hosted.name, f"{hosted.name}-new")
    answer = validate(hosted, repo_url=hosted.url)
    assert (answer["http_status"], answer["repo"]["name"]) == (200, f"{hosted.name}-new")
    assert f"has moved to {hosted.name}-new" in answer["message"]
    assert "allow_moved" in answer["message"]
    assert "can push" in answer["message"]


@pytest.mark.parametrize("body", [{}, {"github_token": ""}])
def test_the_token_may_be_in_the_header(known: Hosted, body: dict[str, str]) -> None:
    client = known.backend.app.test_client()
    answer = client.post("/validate-token", json=body, headers={TOKEN_HEADER: TOKEN})
    assert (answer.status_code, answer.get_json()["user"]) == (200, LOGIN)
    refused = client.post("/validate-token", json=body)
    assert (refused.status_code, refused.get_json()["code"]) == (400, "invalid_request")
    assert TOKEN_HEADER in refused.get_json()["error"]


def test_the_body_counts_before_the_header(known: Hosted) -> None:
    answer = known.backend.app.test_client().post(
        "/validate-token", json={"github_token": TOKEN}, headers={TOKEN_HEADER: "ghp_unknown12"}
    )
    assert answer.get_json()["user"] == LOGIN


def test_limits_are_told(known: Hosted) -> None:
    known.github.fail("secondary_limit")
    try:
        answer = validate(known)
    finally:
        known.github.failing.clear()
    assert (answer["http_status"], answer["code"]) == (503, "github_rate_limited")


@pytest.mark.parametrize(("seconds", "asked"), [(4, 3), (6, 2), (11, 1)])
def test_a_slow_github_is_asked_for_so_long_only(
    known: Hosted, monkeypatch: pytest.MonkeyPatch, seconds: int, asked: int
) -> None:
    clock = Clock()
    answer = known.github.answer

    def answer_late(*arguments: Any) -> Any:
        clock.now += seconds
        return answer(*arguments)

    monkeypatch.setattr("utils.pull_requests.concurrency.time", clock)
    monkeypatch.setattr(known.github, "answer", answer_late)
    known.github.requests.clear()
    access = validate(known, repo_url=known.url)
    assert len(known.github.requests) == asked
    if asked < 3:  # there would have been another one
        assert (access["http_status"], access["code"]) == (503, "github_unavailable")
    else:
        assert access["user"] == LOGIN


def test_a_stored_token_is_opened_for_its_user_alone(known: Hosted) -> None:
    client = known.backend.app.test_client()
    mine = {"X-User-ID": USER}
    client.put("/users/me", json={"github_token": TOKEN}, headers=mine)
    services = known.backend.app.extensions["services"]
    sealed = services.database.get_profile(USER).github_token
    assert TOKEN not in sealed
    body = {"github_token": sealed}
    assert client.post("/validate-token", json=body, headers=mine).get_json()["user"] == LOGIN
    stranger = {"X-User-ID": "00000000-0000-4000-8000-0000000000ff"}
    for headers in (stranger, {}):
        assert client.post("/validate-token", json=body, headers=headers).status_code == 400


def test_only_callers_may_ask_where_users_sign_in(make_app: MakeApp, hub: Hub) -> None:
    client: FlaskClient = make_app(github_api_url=hub.github.api_url, **SECURE).test_client()
    hub.github.requests.clear()
    body = {"github_token": TOKEN}
    assert client.post("/validate-token", json=body).status_code == 401
    claimed = client.post("/validate-token", json=body, headers={"X-User-ID": USER})
    assert claimed.status_code == 401
    assert hub.github.requests == []
    signed_in = client.post("/validate-token", json=body, headers=bearer(own_token(USER)))
    assert signed_in.get_json()["user"] == LOGIN
