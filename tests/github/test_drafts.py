"""A draft is made ready for review over HTTP, and a pull request a draft again."""

from __future__ import annotations

from uuid import uuid4

import pytest
from flask import Flask

from tests.conftest import MakeApp
from tests.fakes.github.failures import SSO_URL
from tests.fakes.github.service import FakeGitHub
from tests.support.github.app import Caller
from tests.support.github.names import LOGIN, NAME, TOKEN
from utils.github.client import GitHub

PULL = f"/repos/{NAME}/pulls/1"
READ = f"GET {PULL}"
CHANGE = f"PATCH {PULL}"
MUTATE = "POST /api/graphql"


@pytest.fixture(scope="module")
def app(make_app: MakeApp, github_server: FakeGitHub) -> Flask:
    """Provide an application whose GitHub has its API at /api/v3, as on Enterprise hosts."""
    return make_app(github_api_url=github_server.api_url)


@pytest.fixture
def caller(app: Flask, github: FakeGitHub, alice: GitHub) -> Caller:
    """Provide a user with a token, and a draft as pull request 1."""
    alice.create_pull(NAME, head="topic", base="main", title="Add two", body="", draft=True)
    github.requests.clear()
    return Caller(app, str(uuid4()), TOKEN)


def is_draft(github: FakeGitHub) -> bool:
    """Return whether the pull request is one on GitHub."""
    return github.pulls(NAME)[0].draft


def test_a_draft_is_made_ready_and_a_draft_again(github: FakeGitHub, caller: Caller) -> None:
    for draft in (False, True):
        github.requests.clear()
        pull = caller.call("PUT", PULL, {"draft": draft})["pull_request"]
        assert (pull["is_draft"], is_draft(github)) == (draft, draft)
        assert github.paths() == [READ, MUTATE]
        assert caller.call("GET", PULL)["pull_request"] == pull


def test_what_is_so_already_is_not_asked_for(github: FakeGitHub, caller: Caller) -> None:
    assert caller.call("PUT", PULL, {"draft": True})["pull_request"]["is_draft"]
    caller.call("PUT", PULL, {"title": "Add 2", "draft": True})
    assert caller.call("PUT", PULL, {"draft": None})["pull_request"]["is_draft"]
    assert github.paths() == [READ, CHANGE, READ]


def test_the_rest_is_changed_with_it(github: FakeGitHub, caller: Caller) -> None:
    text = {"title": "Add 2", "body": "Two is added."}
    pull = caller.call("PUT", PULL, {**text, "draft": False})["pull_request"]
    assert (pull["title"], pull["body"], pull["is_draft"]) == (*text.values(), False)
    assert github.paths() == [CHANGE, MUTATE]
    assert github.requests[0].body == text


def test_what_is_ready_can_be_merged(caller: Caller) -> None:
    assert caller.refusal("POST", f"{PULL}/merge", {}) == (409, "pull_request_is_draft")
    caller.call("PUT", PULL, {"draft": False})
    assert caller.call("POST", f"{PULL}/merge", {})["merged"]


@pytest.mark.parametrize(
    ("token", "status", "code"),
    [
        ("ghp_reader", 403, "repository_no_permission"),
        ("ghp_public_reader", 403, "repository_no_permission"),
        ("ghp_unscoped", 403, "github_token_scope"),
        ("github_pat_x", 403, "github_token_scope"),
        ("ghp_unknown", 403, "github_token_refused"),
        (None, 400, "github_token_needed"),
    ],
)
def test_a_token_that_may_not_is_told_why(
    github: FakeGitHub, app: Flask, caller: Caller, token: str | None, status: int, code: str
) -> None:
    github.add_token("ghp_reader", "bob")
    github.add_token("ghp_public_reader", "bob", scopes=("public_repo",))
    github.add_token("ghp_unscoped", LOGIN, scopes=("gist",))
    github.add_token("github_pat_x", LOGIN, scopes=None, repositories=frozenset({NAME}))
    other = Caller(app, caller.user, token)
    assert other.refusal("PUT", PULL, {"draft": False}) == (status, code)
    assert is_draft(github)


def test_a_missing_scope_is_named(github: FakeGitHub, caller: Caller) -> None:
    github.add_token(TOKEN, LOGIN, scopes=("gist",))
    answer = caller.ask("PUT", PULL, {"draft": False})
    assert "lacks the scope public_repo." in answer.get_json()["error"]


def test_a_plan_without_drafts_makes_none(github: FakeGitHub, caller: Caller) -> None:
    caller.call("PUT", PULL, {"draft": False})
    github.repositories[NAME].allows_drafts = False
    assert caller.refusal("PUT", PULL, {"draft": True}) == (400, "drafts_not_supported")
    assert not is_draft(github)


def test_nothing_is_done_where_the_repository_has_moved_or_is_archived(
    github: FakeGitHub, caller: Caller
) -> None:
    github.repositories[NAME].archived = True
    assert caller.refusal("PUT", PULL, {"draft": False}) == (409, "repository_archived")
    github.repositories[NAME].archived = False
    github.move(NAME, "team/elsewhere")
    answer = caller.ask("PUT", PULL, {"draft": False})
    assert (answer.status_code, answer.get_json()["code"]) == (409, "repository_moved")
    assert "team/elsewhere" in answer.get_json()["error"]
    assert github.pulls("team/elsewhere")[0].draft


def test_a_pull_request_that_is_not_there_is_not_found(github: FakeGitHub, caller: Caller) -> None:
    missing = PULL.replace("1", "9")
    assert caller.refusal("PUT", missing, {"draft": False}) == (404, "pull_request_not_found")
    assert caller.refusal("PUT", PULL, {"draft": "no"}) == (400, "invalid_request")
    assert MUTATE not in github.paths()


@pytest.mark.parametrize(
    ("failure", "status", "code", "text"),
    [
        ("graphql_limit", 503, "github_rate_limited", "try again in"),
        ("graphql_other_limit", 503, "github_rate_limited", "in 60 seconds"),
        ("secondary_limit", 503, "github_rate_limited", "in 7 seconds"),
        ("graphql_sso", 403, "github_sso_required", SSO_URL),
        ("graphql_draft_words", 400, "drafts_not_supported", "not support drafts"),
        ("graphql_closed", 400, "github_validation_failed", "refused a value"),
        ("graphql_gone", 404, "pull_request_not_found", "no such pull request"),
        ("graphql_failed", 503, "github_unavailable", "Try again later"),
        ("bad_gateway", 503, "github_unavailable", "Try again later"),
        ("empty", 503, "github_unavailable", "GITHUB_API_URL"),
        ("html", 503, "github_unavailable", "GITHUB_API_URL"),
    ],
)
def test_each_refusal_of_graphql_has_its_answer(
    github: FakeGitHub, caller: Caller, failure: str, status: int, code: str, text: str
) -> None:
    github.fail(failure, on=MUTATE)
    answer = caller.ask("PUT", PULL, {"draft": False})
    assert (answer.status_code, answer.get_json()["code"]) == (status, code)
    assert text in answer.get_json()["error"]
    assert TOKEN not in answer.get_data(as_text=True)
    assert github.paths().count(MUTATE) == 1
