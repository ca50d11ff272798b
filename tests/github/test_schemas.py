"""Validation of requests to the GitHub endpoints."""

from __future__ import annotations

from uuid import uuid4

import pytest
from flask import Flask

from tests.conftest import MakeApp
from tests.fakes.github.service import FakeGitHub
from tests.support.github.app import Caller
from tests.support.github.names import NAME, TOKEN
from utils.github.client import GitHub
from utils.pull_requests.text import MAX_TITLE_CHARACTERS

PULLS = f"/repos/{NAME}/pulls"
ISSUES = f"/repos/{NAME}/issues"
LONGEST = "x" * MAX_TITLE_CHARACTERS


@pytest.fixture(scope="module")
def app(make_app: MakeApp, github_server: FakeGitHub) -> Flask:
    """Provide an application with a fake GitHub."""
    return make_app(github_api_url=github_server.api_url)


@pytest.fixture
def caller(app: Flask, github: FakeGitHub) -> Caller:
    """Provide a user who sends a token."""
    return Caller(app, str(uuid4()), TOKEN)


def test_titles_may_be_as_long_as_github_takes(caller: Caller, alice: GitHub) -> None:
    alice.create_pull(NAME, head="topic", base="main", title="Add two", body="")
    changed = caller.call("PUT", f"{PULLS}/1", {"title": LONGEST})["pull_request"]
    issue = caller.call("POST", ISSUES, {"title": LONGEST})["issue"]
    assert changed["title"] == issue["title"] == LONGEST


@pytest.mark.parametrize(
    "issue",
    [
        {"title": f"{LONGEST}x"},
        {"title": " "},
        {"title": "x\0"},
        {"title": "x", "labels": ["x\0"]},
        {"title": "x", "labels": [" "]},
        {"title": "x", "labels": ["x" * 51]},
    ],
)
def test_an_issue_that_github_would_not_take_is_not_sent(
    github: FakeGitHub, caller: Caller, issue: object
) -> None:
    assert caller.refusal("POST", ISSUES, issue) == (400, "invalid_request")
    assert github.requests == []
