"""Failures on GitHub become a code, a status, and a message that says what to do."""

from __future__ import annotations

import inspect
import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import github as pygithub
import pytest
import requests
import urllib3
from requests_mock import ANY, Mocker

from tests.fakes.github.failures import BODIES, DOWN, SSO_URL, refusal
from tests.fakes.github.service import FakeGitHub
from tests.support.backends import git
from tests.support.github.names import LOGIN, NAME, TOKEN
from tests.support.github.refusals import error_of
from utils.errors import AppError
from utils.github.client import GitHub
from utils.github.errors import EXCEPTION_RULES, FOREIGN, translate

exceptions = inspect.getmodule(pygithub.GithubException)
BIG = "x" * 70_000


def create(client: GitHub, **changes: Any) -> object:
    text = {"head": "topic", "base": "main", "title": "Add two", "body": "", **changes}
    return client.create_pull(NAME, **text)


CLASSES = {
    "BadAttributeException": "github_unavailable",
    "BadCredentialsException": "github_token_refused",
    "BadUserAgentException": "github_refused",
    "GithubException": "github_unavailable",
    "IncompletableObject": "github_unavailable",
    "RateLimitExceededExceedsMaxWait": "github_rate_limited",
    "RateLimitExceededException": "github_rate_limited",
    "TwoFactorException": "github_token_refused",
    "UnknownObjectException": "repository_not_found",
}
"""The translation of each exception of PyGithub. A new exception needs a decision here."""

STATUSES = {
    "BadCredentialsException": (401, "Bad credentials"),
    "BadUserAgentException": (403, "Missing or invalid User Agent string."),
    "IncompletableObject": (400, None),
    "RateLimitExceededExceedsMaxWait": (403, "API rate limit exceeded"),
    "RateLimitExceededException": (403, "API rate limit exceeded"),
    "TwoFactorException": (401, "Must specify OTP"),
    "UnknownObjectException": (404, "Not Found"),
}


def test_every_exception_of_pygithub_has_a_code() -> None:
    found = {}
    for name, kind in inspect.getmembers(exceptions, inspect.isclass):
        if not issubclass(kind, Exception) or inspect.getmodule(kind) is not exceptions:
            continue
        status, message = STATUSES.get(name, (500, None))
        arguments: Any = (status, {"message": message}, {})
        if name == "BadAttributeException":
            arguments = (1, (str, str), None)
        found[name] = translate(kind(*arguments)).code
        assert issubclass(kind, FOREIGN)
    assert found == CLASSES


def test_no_rule_of_the_table_hides_a_later_one() -> None:
    kinds = [kind for rule in EXCEPTION_RULES for kind in rule.kinds]
    for number, kind in enumerate(kinds):
        assert not any(issubclass(kind, earlier) for earlier in kinds[:number])


@pytest.mark.parametrize(
    "error",
    [
        requests.ConnectionError("x"),
        requests.exceptions.RetryError("x"),
        requests.exceptions.ChunkedEncodingError("x"),
        urllib3.exceptions.LocationParseError("x"),
        json.JSONDecodeError("x", "{", 0),
        AssertionError("x"),
        RuntimeError("x"),
        pygithub.GithubException(302, "text", None),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_no_answer_may_pass(error: Exception) -> None:
    translated = translate(error)
    assert (translated.code, translated.http_status) == ("github_unavailable", 503)
    assert translated.retry_after_seconds


FAILURES = {
    "bad_credentials": (403, "github_token_refused", "Create a new one"),
    "one_time_password": (403, "github_token_refused", "Create a new one"),
    "sso": (403, "github_sso_required", re.escape(SSO_URL)),
    "secondary_limit": (503, "github_rate_limited", "in 7 seconds"),
    "primary_limit": (503, "github_rate_limited", "in (89|90) seconds"),
    "too_many_requests": (503, "github_rate_limited", "in 3 seconds"),
    "too_quick": (503, "github_rate_limited", "in 60 seconds"),
    "ip_allow_list": (403, "github_ip_refused", "IP allow list"),
    "blocked": (403, "repository_blocked", "blocked"),
    "legal": (403, "repository_blocked", "blocked"),
    "classic_forbidden": (403, "github_token_scope", "lacks a permission"),
    "rule_violations": (409, "branch_protected", "At least 1 approving review"),
    "other_403": (403, "github_refused", "not the day"),
    "server_error": (503, "github_unavailable", "Try again later"),
    "bad_gateway": (503, "github_unavailable", "Try again later"),
    "unavailable": (503, "github_unavailable", "Try again later"),
    "reset": (503, "github_unavailable", "Try again later"),
    "cut": (503, "github_unavailable", "Try again later"),
    "html": (503, "github_unavailable", "GITHUB_API_URL"),
    "nonsense": (503, "github_unavailable", "GITHUB_API_URL"),
    "empty": (503, "github_unavailable", "GITHUB_API_URL"),
}


ON_THE_WIRE = ("bad_gateway", "unavailable", "reset", "cut")
"""Failures of the connection, and those that are tried again below PyGithub: they need a server."""

ACTIONS: dict[str, Callable[[GitHub], object]] = {
    "repository": lambda client: client.repository(NAME),
    "create_pull": create,
}


@pytest.mark.parametrize("name", sorted(FAILURES.keys() - ON_THE_WIRE))
@pytest.mark.parametrize("action", ACTIONS)
def test_each_failure_has_its_answer(requests_mock: Mocker, name: str, action: str) -> None:
    can_failure(requests_mock, name)
    with GitHub("https://github.example/api/v3", TOKEN) as client:
        require_failure(name, error_of(ACTIONS[action], client))
    assert requests_mock.call_count == 1


@pytest.mark.parametrize("name", ON_THE_WIRE)
@pytest.mark.parametrize("action", ACTIONS)
def test_each_failure_of_the_connection_has_its_answer(
    github: FakeGitHub, alice: GitHub, name: str, action: str
) -> None:
    github.fail(name)
    require_failure(name, error_of(ACTIONS[action], alice))


def can_failure(requests_mock: Mocker, name: str) -> None:
    """Give the answer of a failure to every request of PyGithub."""
    if name in BODIES:
        requests_mock.register_uri(ANY, ANY, content=BODIES[name])
        return
    refused = refusal(name)
    requests_mock.register_uri(
        ANY, ANY, status_code=refused.status, json=refused.body, headers=refused.headers
    )


def require_failure(name: str, error: AppError) -> None:
    """Fail unless an error has the code, status and message of a failure."""
    status, code, text = FAILURES[name]
    assert (error.http_status, error.code) == (status, code)
    assert re.search(text, error.message)
    assert (error.retry_after_seconds is not None) == (status == 503)


def test_all_ways_to_be_down_are_tried() -> None:
    assert {*DOWN} - {"hang"} <= FAILURES.keys()


def test_silence_ends_after_the_time_limit_and_is_not_tried_again(github: FakeGitHub) -> None:
    github.fail("hang")
    with GitHub(github.api_url, TOKEN, timeout_seconds=1) as client:
        assert error_of(client.repository, NAME).code == "github_unavailable"
    assert len(github.requests) == 1


def test_nobody_listening_is_github_away() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/api/v3"
        with GitHub(url, TOKEN) as client:
            assert error_of(client.user).code == "github_unavailable"


def test_a_passing_failure_is_tried_again_only_where_nothing_is_done_twice(
    github: FakeGitHub, alice: GitHub
) -> None:
    for name in ("bad_gateway", "reset"):
        github.fail(name, on="GET", times=1)
        assert alice.repository(NAME).full_name == NAME
    github.fail("bad_gateway", on="POST", times=1)
    assert error_of(create, alice).code == "github_unavailable"
    assert github.pulls(NAME) == []
    assert github.paths().count("POST /repos/team/demo/pulls") == 1


def test_every_operation_notices_what_is_no_answer(github: FakeGitHub, alice: GitHub) -> None:
    github.fail("empty")
    for action in (
        alice.user,
        lambda: alice.branch_sha(NAME, "main"),
        lambda: alice.permission(NAME, LOGIN),
        lambda: alice.pull(NAME, 1),
        lambda: alice.update_pull(NAME, 1, title="x"),
        lambda: alice.merge_pull(NAME, 1),
        lambda: alice.create_issue(NAME, title="x"),
        lambda: alice.issue(NAME, 1),
        lambda: alice.comment(NAME, 1, "x"),
    ):
        assert error_of(action).code == "github_unavailable"


def test_a_limit_is_not_waited_for(github: FakeGitHub, alice: GitHub) -> None:
    github.fail("secondary_limit")
    assert error_of(alice.repository, NAME).retry_after_seconds == 7
    assert len(github.requests) == 1


def test_a_token_that_github_does_not_know_is_no_sign_out(github: FakeGitHub) -> None:
    with GitHub(github.api_url, "ghp_unknown") as client:
        error = error_of(client.user)
    assert (error.http_status, error.code) == (403, "github_token_refused")


@pytest.mark.parametrize("token", ["ghp a", "ghp\r\nX-Other: 1", "ghp_\u00e9", "\ud800"])
def test_what_cannot_be_a_token_is_never_sent(github: FakeGitHub, token: str) -> None:
    error = error_of(GitHub, github.api_url, token)
    assert (error.http_status, error.code) == (403, "github_token_refused")
    assert token not in error.message
    assert github.requests == []


@pytest.mark.parametrize("private", [False, True])
def test_a_classic_token_without_the_scope_is_told_which(github: FakeGitHub, private: bool) -> None:
    github.repositories[NAME].private = private
    github.add_token("ghp_bare", LOGIN, scopes=("gist",))
    with GitHub(github.api_url, "ghp_bare") as client:
        error = error_of(client.repository, NAME) if private else error_of(create, client)
    assert (error.http_status, error.code) == (403, "github_token_scope")
    assert ("scope repo," if private else "scope public_repo or repo,") in error.message


def test_the_scope_repo_holds_the_smaller_ones(github: FakeGitHub, alice: GitHub) -> None:
    error = error_of(alice.repository, "team/none")
    assert (error.http_status, error.code) == (404, "repository_not_found")
    assert "the token can see" in error.message


def test_a_fine_grained_token_is_told_its_missing_permission(github: FakeGitHub) -> None:
    github.add_token("github_pat_x", LOGIN, scopes=None, repositories=frozenset({NAME}))
    with GitHub(github.api_url, "github_pat_x") as client:
        error = error_of(create, client)
    assert (error.http_status, error.code) == (403, "github_token_scope")
    assert "It needs: pull_requests=write." in error.message


def test_a_private_repository_looks_as_if_it_were_not_there(github: FakeGitHub) -> None:
    github.repositories[NAME].private = True
    github.add_token("stranger", "dave")
    github.add_token("github_pat_x", LOGIN, scopes=None)
    for token in ("stranger", "github_pat_x", None):
        with GitHub(github.api_url, token) as client:
            assert error_of(client.repository, NAME).code == "repository_not_found"


def test_contents_that_the_token_may_not_read_are_noticed(github: FakeGitHub) -> None:
    github.repositories[NAME].private = True
    github.add_token("github_pat_x", LOGIN, scopes=None, repositories=frozenset({NAME}))
    with GitHub(github.api_url, "github_pat_x") as client:
        assert client.repository(NAME).is_private
        assert not client.can_read_branches(NAME)


def test_a_reader_may_not_write(github: FakeGitHub) -> None:
    github.add_token("reader", "bob")
    with GitHub(github.api_url, "reader") as client:
        error = error_of(create, client)
    assert (error.http_status, error.code) == (403, "repository_no_permission")


def test_an_archived_repository_cannot_be_changed(github: FakeGitHub, alice: GitHub) -> None:
    github.repositories[NAME].archived = True
    assert alice.repository(NAME).is_archived
    error = error_of(create, alice)
    assert (error.http_status, error.code) == (409, "repository_archived")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"base": "gone"}, 409, "base_branch_missing"),
        ({"head": "gone"}, 409, "head_branch_missing"),
        ({"head": "main"}, 409, "no_commits"),
        ({"head": "unresolved/draft-archived"}, 409, "no_commits"),
        ({"head": "orphan"}, 409, "no_common_history"),
        ({"title": " "}, 400, "github_validation_failed"),
        ({"body": BIG}, 400, "github_validation_failed"),
        ({"draft": True}, 400, "drafts_not_supported"),
    ],
)
def test_a_pull_request_that_cannot_be_says_why(
    github: FakeGitHub, alice: GitHub, bare: Path, changes: Any, status: int, code: str
) -> None:
    github.repositories[NAME].allows_drafts = False
    tree = git(bare, "rev-parse", "main^{tree}")
    orphan = git(bare, "commit-tree", tree, stdin=b"Other")
    git(bare, "update-ref", "refs/heads/orphan", orphan)
    git(bare, "branch", "unresolved/draft-archived", "main")
    error = error_of(create, alice, **changes)
    assert (error.http_status, error.code) == (status, code)
    assert BIG not in error.message


def test_a_second_pull_request_for_a_branch_is_a_conflict(alice: GitHub) -> None:
    create(alice)
    error = error_of(create, alice)
    assert (error.http_status, error.code) == (409, "pull_request_exists")


def test_a_deleted_branch_closes_its_pull_request(alice: GitHub, bare: Path) -> None:
    create(alice)
    git(bare, "branch", "--delete", "--force", "topic")
    assert alice.pull(NAME, 1).state == "closed"
    assert error_of(alice.merge_pull, NAME, 1).code == "not_mergeable"
