"""Stored GitHub tokens that cannot be used."""

from __future__ import annotations

from uuid import uuid4

import pytest
from flask import Flask

from tests.conftest import MakeApp
from tests.fakes.github.service import FakeGitHub
from tests.support.github.app import BOT_USER, SERVER_TOKEN, Caller, services_of
from tests.support.github.names import NAME, TOKEN
from utils.credentials.profiles import GITHUB_TOKEN

REPOSITORY = f"/repos/{NAME}"


@pytest.fixture(scope="module")
def app(make_app: MakeApp, github_server: FakeGitHub) -> Flask:
    """Provide an application with its own GitHub token."""
    return make_app(github_api_url=github_server.api_url, github_token=SERVER_TOKEN)


@pytest.fixture
def caller(app: Flask, github: FakeGitHub) -> Caller:
    """Provide a user with a project in the repository."""
    github.add_token(SERVER_TOKEN, "server")
    made = Caller(app, str(uuid4()))
    made.project(github)
    return made


def store(caller: Caller, token: str) -> None:
    """Write a text to the token column of the user, bypassing the endpoint."""
    services_of(caller.app).database.update_profile(caller.user, {GITHUB_TOKEN: token})


def test_one_that_cannot_be_read_is_told_unless_it_is_not_needed(
    github: FakeGitHub, caller: Caller
) -> None:
    store(caller, services_of(caller.app).vault.seal(BOT_USER, GITHUB_TOKEN, TOKEN))
    assert caller.refusal("GET", REPOSITORY) == (409, "stored_secret_unreadable")
    assert github.requests == []
    caller.headers["X-GitHub-Token"] = TOKEN
    assert caller.call("GET", REPOSITORY)["repository"]["can_push"]


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        ("a b", "contains a space"),
        ("gh\xe9", "contains a space or another character that tokens do not have"),
        ("x" * 4097, "has more than 4096 characters"),
        (" ", "is empty"),
    ],
)
def test_what_is_wrong_with_one_of_a_request_is_said_in_words(
    github: FakeGitHub, caller: Caller, sent: str, fault: str
) -> None:
    read_in_the_row = services_of(caller.app).vault.seal(caller.user, GITHUB_TOKEN, sent)
    for token, whose in ((sent, "the value"), (read_in_the_row, "the stored token")):
        caller.headers["X-GitHub-Token"] = token
        answer = caller.ask("GET", REPOSITORY)
        assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid_request")
        assert answer.get_json()["error"].startswith(f"github_token: {whose} {fault}")
    assert github.requests == []


def test_one_that_is_no_token_is_passed_over(github: FakeGitHub, caller: Caller) -> None:
    store(caller, "two words")
    caller.call("GET", REPOSITORY)
    assert [request.token for request in github.requests] == [SERVER_TOKEN]
