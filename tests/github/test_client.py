"""Operations of the GitHub client, and the number of requests of each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.github.service import FakeGitHub
from tests.support.backends import Repository, git
from tests.support.github.names import LOGIN, NAME, TOKEN
from utils.errors import AppError, Conflict, NotFound
from utils.github.client import WRITERS, GitHub
from utils.github.errors import RepositoryMoved
from utils.github.models import CommitState, GitHubPull, MergeMethod

ELSEWHERE = "team/elsewhere"


def opened(alice: GitHub, **changes: Any) -> GitHubPull:
    text = {"title": "Add two", "body": "Two is added.", **changes}
    return alice.create_pull(NAME, head="topic", base="main", **text)


def refused(action: Callable[..., object], *arguments: Any, **named: Any) -> str:
    """Return the code of the error that an action ends with."""
    with pytest.raises(AppError) as error:
        action(*arguments, **named)
    return error.value.code


def test_a_classic_token_tells_its_user_and_scopes(github: FakeGitHub, alice: GitHub) -> None:
    github.tokens[TOKEN].expires = "2030-01-02 03:04:05 UTC"
    user = alice.user()
    assert (user.login, user.scopes) == (LOGIN, ("repo",))
    assert user.token_expires_at == datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert github.paths() == ["GET /user"]


def test_a_token_without_scopes_is_not_one_without_the_notion(github: FakeGitHub) -> None:
    github.add_token("none", "bob", scopes=())
    github.add_token("github_pat_x", "bob", scopes=None)
    for token, scopes in (("none", ()), ("github_pat_x", None)):
        with GitHub(github.api_url, token) as client:
            assert client.user().scopes == scopes


@pytest.mark.parametrize(
    ("login", "can"),
    [("bob", (True, False, False)), (LOGIN, (True, True, False)), ("carol", (True, True, True))],
)
def test_a_repository_tells_what_its_user_may(github: FakeGitHub, login: str, can: object) -> None:
    github.add_token("other", login)
    with GitHub(github.api_url, "other") as client:
        found = client.repository(NAME)
    assert (found.can_read, found.can_push, found.can_admin) == can
    assert (found.full_name, found.owner, found.moved_from) == (NAME, "team", None)
    assert (found.default_branch, found.is_private, found.is_archived) == ("main", False, False)
    assert len(github.requests) == 1


def test_nobody_sees_what_is_public(github: FakeGitHub) -> None:
    with GitHub(github.api_url, None) as client:
        found = client.repository(NAME)
        assert client.can_read_branches(NAME)
        assert refused(client.create_pull, NAME, head="topic", base="main", title="x", body="") == (
            "github_token_needed"
        )
    assert (found.can_read, found.can_push) == (True, False)


def test_a_moved_repository_is_found_under_its_new_name(github: FakeGitHub, alice: GitHub) -> None:
    github.move(NAME, ELSEWHERE)
    found = alice.repository(NAME)
    assert (found.full_name, found.moved_from) == (ELSEWHERE, NAME)
    pull = alice.create_pull(ELSEWHERE, head="topic", base="main", title="Add two", body="")
    assert pull.head_repository == ELSEWHERE


def test_nothing_else_follows_a_moved_repository(github: FakeGitHub, alice: GitHub) -> None:
    github.move(NAME, ELSEWHERE)
    for action in (
        lambda: opened(alice),
        lambda: alice.find_pulls(NAME, "topic"),
        lambda: alice.merge_pull(NAME, 1),
        lambda: alice.comment(NAME, 1, "hello"),
    ):
        with pytest.raises(RepositoryMoved):
            action()
    assert github.pulls(ELSEWHERE) == []


def test_a_pull_request_is_made_from_real_branches(
    github: FakeGitHub, alice: GitHub, bare: Path
) -> None:
    pull = opened(alice, draft=True)
    assert pull.number == 1
    assert (pull.head, pull.base, pull.is_draft, pull.state) == ("topic", "main", True, "open")
    assert pull.head_sha == git(bare, "rev-parse", "topic") == alice.branch_sha(NAME, "topic")
    assert alice.branch_sha(NAME, "no/such") is None
    assert github.paths()[0] == "POST /repos/team/demo/pulls"
    assert len(github.requests) == 3


def test_a_pull_request_is_found_by_its_branch(github: FakeGitHub, alice: GitHub) -> None:
    assert alice.find_pulls(NAME, "topic") == ()
    pull = opened(alice)
    github.requests.clear()
    assert alice.find_pulls(NAME, "topic") == (pull,)
    assert alice.find_pulls(NAME, "main") == ()
    assert len(github.requests) == 2
    alice.update_pull(NAME, pull.number, state="closed")
    assert [found.state for found in alice.find_pulls(NAME, "topic")] == ["closed"]


def test_labels_and_reviewers_are_asked_for(github: FakeGitHub, alice: GitHub) -> None:
    pull = opened(alice)
    alice.add_labels(NAME, pull.number, ["agent", "new"])
    alice.request_reviews(NAME, pull.number, ["bob", "team/core"])
    alice.add_labels(NAME, pull.number, [])
    alice.request_reviews(NAME, pull.number, [])
    assert len(github.requests) == 3
    assert alice.pull(NAME, pull.number).labels == ("agent", "new")
    assert alice.pull(NAME, pull.number).reviewers == ("bob",)
    assert alice.pull(NAME, pull.number).teams == ("core",)
    assert refused(alice.request_reviews, NAME, 1, [LOGIN]) == "reviewers_invalid"
    assert refused(alice.request_reviews, NAME, 1, ["stranger"]) == "reviewers_invalid"


def test_only_what_is_given_is_changed(github: FakeGitHub, alice: GitHub, bare: Path) -> None:
    opened(alice)
    git(bare, "branch", "next", "main")
    github.requests.clear()
    changed = alice.update_pull(NAME, 1, title="Add 2")
    assert (changed.title, changed.body, changed.base) == ("Add 2", "Two is added.", "main")
    changed = alice.update_pull(NAME, 1, body="", base="next")
    assert (changed.title, changed.body, changed.base) == ("Add 2", "", "next")
    assert [request.body for request in github.requests] == [
        {"title": "Add 2"},
        {"body": "", "base": "next"},
    ]


def test_lists_are_read_page_by_page(github: FakeGitHub, alice: GitHub, bare: Path) -> None:
    for number in range(5):
        git(bare, "branch", f"base-{number}", "main")
        alice.create_pull(NAME, head="topic", base=f"base-{number}", title="x", body="")
    github.page_size = 2
    github.requests.clear()
    assert [pull.number for pull in alice.pulls(NAME)] == [5, 4, 3, 2, 1]
    assert len(github.requests) == 3
    assert [pull.number for pull in alice.pulls(NAME, limit=2)] == [5, 4]
    assert len(github.requests) == 4
    assert alice.pulls(NAME, state="closed") == ()
    assert [pull.number for pull in alice.find_pulls(NAME, "topic")] == [5, 4, 3, 2, 1]


@pytest.mark.parametrize("method", MergeMethod)
def test_a_merge_is_one_of_git(alice: GitHub, bare: Path, method: MergeMethod) -> None:
    pull = opened(alice)
    tree = git(bare, "rev-parse", "topic^{tree}")
    made = alice.merge_pull(NAME, 1, method=method, expected_head=pull.head_sha)
    assert git(bare, "rev-parse", "main", "main^{tree}").split() == [made, tree]
    parents = git(bare, "log", "-1", "--format=%P", "main").split()
    assert len(parents) == (2 if method is MergeMethod.MERGE else 1)
    merged = alice.pull(NAME, 1)
    assert (merged.is_merged, merged.state) == (True, "closed")
    assert alice.pulls(NAME, state="all")[0].is_merged


def test_a_branch_that_moved_is_not_merged(alice: GitHub, origin: Repository, bare: Path) -> None:
    pull = opened(alice)
    git(bare, "branch", "--force", "topic", "main")
    assert refused(alice.merge_pull, NAME, 1, expected_head=pull.head_sha) == "head_moved"
    assert git(bare, "rev-parse", "main") == origin.head


def test_a_conflict_cannot_be_merged(alice: GitHub, bare: Path, tmp_path: Path) -> None:
    opened(alice)
    work = tmp_path / "work"
    git(tmp_path, "clone", "--quiet", str(bare), str(work))
    (work / "two.txt").write_text("other\n")
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "--message", "Other")
    git(work, "push", "--quiet", "origin", "main")
    for method in MergeMethod:
        assert refused(alice.merge_pull, NAME, 1, method=method) == "not_mergeable"


def test_what_stops_a_merge_is_told(github: FakeGitHub, alice: GitHub) -> None:
    opened(alice, draft=True)
    assert refused(alice.merge_pull, NAME, 1) == "pull_request_is_draft"
    github.pulls(NAME)[0].draft = False
    found = github.repositories[NAME]
    found.merge_methods = frozenset({"squash"})
    for method in (MergeMethod.MERGE, MergeMethod.REBASE):
        assert refused(alice.merge_pull, NAME, 1, method=method) == "merge_method_not_allowed"
    found.protected["main"] = "At least 1 approving review is required by reviewers."
    with pytest.raises(Conflict, match="protected: At least 1 approving review") as protected:
        alice.merge_pull(NAME, 1, method=MergeMethod.SQUASH)
    assert protected.value.code == "branch_protected"


def test_issues_are_opened_read_and_commented_on(github: FakeGitHub, alice: GitHub) -> None:
    issue = alice.create_issue(NAME, title="It breaks", body="Here.", labels=["bug"])
    assert (issue.number, issue.author, issue.labels) == (1, LOGIN, ("bug",))
    assert alice.issue(NAME, 1) == issue
    assert not issue.is_pull_request
    comment = alice.comment(NAME, 1, "Thanks")
    assert (comment.body, comment.author) == ("Thanks", LOGIN)
    assert len(github.requests) == 3
    opened(alice)
    assert alice.issue(NAME, 2).is_pull_request
    assert alice.comment(NAME, 2, "Done").url.endswith(f"/pull/2#issuecomment-{comment.id + 1}")
    assert refused(alice.issue, NAME, 99) == "issue_not_found"
    assert refused(alice.pull, NAME, 1) == "pull_request_not_found"
    github.repositories[NAME].has_issues = False
    assert refused(alice.create_issue, NAME, title="x") == "issues_disabled"


@pytest.mark.parametrize("state", CommitState)
def test_a_commit_gets_a_status(
    github: FakeGitHub, alice: GitHub, origin: Repository, state: CommitState
) -> None:
    link = "https://web.example/tasks/7"
    alice.set_commit_status(
        NAME, origin.head, state, context="async-code", description="d" * 200, target_url=link
    )
    alice.set_commit_status(NAME, origin.head, state, context="async-code")
    assert github.repositories[NAME].statuses[origin.head] == [
        {"state": state, "context": "async-code", "description": "d" * 140, "target_url": link},
        {"state": state, "context": "async-code"},
    ]
    assert len(github.requests) == 2
    with pytest.raises(NotFound) as missing:
        alice.set_commit_status(NAME, "0" * 40, state, context="async-code")
    assert missing.value.code == "commit_not_found"


@pytest.mark.parametrize(
    ("login", "writes"),
    [
        ("bob", False),
        (LOGIN, True),
        ("carol", True),
        ("maintainer", True),
        ("triager", False),
        ("x", False),
    ],
)
def test_a_commenter_has_a_permission(
    github: FakeGitHub, alice: GitHub, login: str, writes: bool
) -> None:
    github.repositories[NAME].roles |= {"maintainer": "maintain", "triager": "triage"}
    assert (alice.permission(NAME, login) in WRITERS) is writes


@pytest.mark.parametrize(
    "name", ["", "demo", "team/", "team/demo/x", "team/..", "../user", "team/de mo", "team/demo?x"]
)
def test_odd_names_never_reach_github(github: FakeGitHub, alice: GitHub, name: str) -> None:
    assert refused(alice.repository, name) == "invalid_request"
    assert refused(alice.permission, NAME, "a/../b") == "invalid_request"
    assert refused(alice.set_commit_status, NAME, "main", CommitState.PENDING, context="x") == (
        "invalid_request"
    )
    assert github.requests == []
