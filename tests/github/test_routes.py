"""The GitHub endpoints, and the token that each of them uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask

from tests.conftest import MakeApp
from tests.fakes.github.service import FakeGitHub
from tests.fakes.github.state import App
from tests.support.backends import Repository, git
from tests.support.github.app import PAGE, SERVER_TOKEN, Caller
from tests.support.github.keys import PERMISSIONS, app_key, pem, public_pem
from tests.support.github.names import LOGIN, NAME, TOKEN
from utils.github.client import GitHub

REPOSITORY = f"/repos/{NAME}"
PULLS = f"{REPOSITORY}/pulls"
ISSUES = f"{REPOSITORY}/issues"
SERVER = "server"


@pytest.fixture(scope="module")
def app(make_app: MakeApp, github_server: FakeGitHub) -> Flask:
    """Provide an application with its own GitHub token."""
    return make_app(
        github_api_url=github_server.api_url, github_token=SERVER_TOKEN, public_url=PAGE
    )


@pytest.fixture
def caller(app: Flask, github: FakeGitHub) -> Caller:
    """Provide a user who sends a GitHub token, although the server has one too."""
    github.add_token(SERVER_TOKEN, SERVER)
    github.repositories[NAME].roles[SERVER] = "admin"
    return Caller(app, str(uuid4()), TOKEN)


@pytest.fixture
def guest(caller: Caller) -> Caller:
    """Provide a user without a token and without tasks."""
    return Caller(caller.app, str(uuid4()))


def opened(alice: GitHub, **changes: Any) -> str:
    """Open a pull request; return its address."""
    text = {"title": "Add two", "body": "Two is added.", **changes}
    return alice.create_pull(NAME, head="topic", base="main", **text).url


def tokens(github: FakeGitHub) -> set[str | None]:
    """Return with which tokens GitHub was asked."""
    return {request.token for request in github.requests}


def test_a_repository_tells_what_the_token_may(github: FakeGitHub, caller: Caller) -> None:
    found = caller.call("GET", REPOSITORY)["repository"]
    assert (found["full_name"], found["default_branch"]) == (NAME, "main")
    assert (found["can_push"], found["can_admin"], found["is_private"]) == (True, False, False)
    assert len(github.requests) == 1
    github.move(NAME, "team/elsewhere")
    moved = caller.call("GET", REPOSITORY)["repository"]
    assert (moved["full_name"], moved["moved_from"]) == ("team/elsewhere", NAME)
    assert caller.refusal("GET", PULLS) == (409, "repository_moved")


def test_what_a_person_chooses_from_is_listed_with_their_own_token(
    github: FakeGitHub, caller: Caller, guest: Caller
) -> None:
    bare = github.repositories[NAME].bare
    github.add_repository("other/secret", bare, private=True, roles={SERVER: "admin"})
    found = caller.call("GET", "/repos")["repositories"]
    assert [(one["full_name"], one["can_push"]) for one in found] == [(NAME, True)]
    assert caller.call("GET", f"{REPOSITORY}/branches")["branches"] == ["main", "topic"]
    github.requests.clear()
    assert guest.refusal("GET", "/repos") == (400, "github_token_needed")
    assert guest.refusal("GET", "/repos/other/secret/branches") == (404, "repository_not_found")
    assert tokens(github) <= {None}


def test_pull_requests_are_listed_read_and_changed(caller: Caller, alice: GitHub) -> None:
    url = opened(alice)
    [listed] = caller.call("GET", PULLS)["pull_requests"]
    pull = caller.call("GET", f"{PULLS}/1")["pull_request"]
    assert listed == pull
    assert (pull["url"], pull["head"], pull["author"]) == (url, "topic", LOGIN)
    assert pull["created_at"].endswith("Z")
    changed = caller.call("PUT", f"{PULLS}/1", {"title": "Add 2"})["pull_request"]
    assert (changed["title"], changed["body"]) == ("Add 2", "Two is added.")
    assert caller.call("GET", f"{PULLS}?state=closed")["pull_requests"] == []
    assert caller.refusal("GET", f"{PULLS}/9") == (404, "pull_request_not_found")
    assert caller.refusal("GET", f"{PULLS}?state=any") == (400, "invalid_request")


def test_closing_a_pull_request_is_noted_with_its_tasks(
    github: FakeGitHub, caller: Caller, alice: GitHub
) -> None:
    mine = caller.task(github, pr_url=opened(alice), pr_state="open")
    for state in ("closed", "open"):
        caller.call("PUT", f"{PULLS}/1", {"state": state})
        assert caller.state(mine) == state


@pytest.mark.parametrize("method", ["merge", "squash", "rebase"])
def test_a_merge_is_one_of_git_and_noted_with_every_task_of_it(
    github: FakeGitHub, caller: Caller, guest: Caller, alice: GitHub, bare: Path, method: str
) -> None:
    url = opened(alice)
    mine = caller.task(github, pr_url=url, pr_state="open")
    other = caller.task(github, pr_url=f"{url}1", pr_state="open")
    theirs = guest.task(github, pr_url=url, pr_state="open")
    answer = caller.call("POST", f"{PULLS}/1/merge", {"method": method})
    assert answer == {
        "status": "success",
        "merged": True,
        "sha": git(bare, "rev-parse", "main"),
    }
    parents = git(bare, "log", "-1", "--format=%P", "main").split()
    assert len(parents) == (2 if method == "merge" else 1)
    assert (caller.state(mine), guest.state(theirs)) == ("merged", "merged")
    assert caller.state(other) == "open"
    again = caller.call("POST", f"{PULLS}/1/merge", {"method": method})
    assert (again["merged"], again["sha"]) == (True, None)
    caller.call("PUT", f"{PULLS}/1", {"state": "closed"})
    assert caller.state(mine) == "merged"


def test_a_merge_is_refused_when_the_branch_is_another(
    caller: Caller, alice: GitHub, origin: Repository, bare: Path
) -> None:
    opened(alice)
    wrong = {"sha": origin.head}
    assert caller.refusal("POST", f"{PULLS}/1/merge", wrong) == (409, "head_moved")
    assert git(bare, "rev-parse", "main") == origin.head
    right = {"sha": git(bare, "rev-parse", "topic")}
    assert caller.call("POST", f"{PULLS}/1/merge", right)["merged"]


@pytest.mark.parametrize("body", [{"method": "octopus"}, {"sha": "main"}, {"force": True}])
def test_a_merge_takes_nothing_else(caller: Caller, github: FakeGitHub, body: Any) -> None:
    assert caller.refusal("POST", f"{PULLS}/1/merge", body) == (400, "invalid_request")
    assert github.requests == []


def test_issues_are_opened_read_and_commented_on(caller: Caller, github: FakeGitHub) -> None:
    text = {"title": "It breaks", "body": "Here.", "labels": ["bug"]}
    issue = caller.call("POST", ISSUES, text)["issue"]
    assert (issue["number"], issue["author"], issue["labels"]) == (1, LOGIN, ["bug"])
    assert caller.call("GET", f"{ISSUES}/1")["issue"] == issue
    comment = caller.call("POST", f"{ISSUES}/1/comments", {"body": "Thanks"})["comment"]
    assert (comment["body"], comment["author"]) == ("Thanks", LOGIN)
    assert caller.refusal("GET", f"{ISSUES}/9") == (404, "issue_not_found")
    assert caller.refusal("POST", ISSUES, {"title": " "}) == (400, "invalid_request")


def test_a_comment_from_here_starts_no_task(caller: Caller, github: FakeGitHub) -> None:
    caller.call("POST", ISSUES, {"title": "It breaks"})
    for body in ("/async-code delete all", " \n/async-code\nx", "    /async-code x"):
        assert caller.refusal("POST", f"{ISSUES}/1/comments", {"body": body})[0] == 400
    assert caller.call("POST", f"{ISSUES}/1/comments", {"body": "/async-codes are fun"})
    assert len(github.repositories[NAME].issues[1].comments) == 1


@pytest.mark.parametrize("state", ["pending", "success", "failure"])
def test_a_status_is_set_on_what_a_task_pushed(
    github: FakeGitHub, caller: Caller, origin: Repository, state: str
) -> None:
    task_id = caller.task(github, pr_commit=origin.head)
    path = f"/tasks/{task_id}/status"
    link = f"{PAGE}/tasks/{task_id}"
    report = {"state": state, "description": "All is well"}
    assert caller.call("POST", path, report) == {
        "status": "success",
        "commit": origin.head,
        "link": link,
    }
    assert github.repositories[NAME].statuses[origin.head] == [
        {
            "state": state,
            "context": "async-code",
            "description": "All is well",
            "target_url": link,
        }
    ]


def test_a_status_needs_a_task_that_pushed_something_to_github(
    github: FakeGitHub, caller: Caller, guest: Caller, origin: Repository, repository: Path
) -> None:
    report = {"state": "success"}
    unpushed = f"/tasks/{caller.task(github)}/status"
    assert caller.refusal("POST", unpushed, report) == (409, "not_pushed")
    assert guest.refusal("POST", unpushed, report) == (404, "not_found")
    gone = caller.task(github, pr_commit="0" * 40)
    assert caller.refusal("POST", f"/tasks/{gone}/status", report) == (404, "commit_not_found")
    local = {"prompt": "Hello", "repo_url": str(repository)}
    started = caller.client.post("/start-task", json=local, headers=caller.headers)
    path = f"/tasks/{started.get_json()['task_id']}/status"
    assert caller.refusal("POST", path, report) == (400, "repository_not_on_github")
    assert caller.refusal("POST", path, {"state": "error"}) == (400, "invalid_request")


def test_the_requests_token_comes_before_the_stored_one_and_that_before_the_servers(
    github: FakeGitHub, guest: Caller
) -> None:
    guest.task(github)
    guest.call("GET", REPOSITORY)
    github.add_token("ghp_stored", "bob")
    profile = {"github_token": "ghp_stored"}
    assert guest.client.put("/users/me", json=profile, headers=guest.headers).status_code == 200
    assert not guest.call("GET", REPOSITORY)["repository"]["can_push"]
    guest.headers["X-GitHub-Token"] = TOKEN
    guest.call("GET", REPOSITORY)
    assert [request.token for request in github.requests] == [SERVER_TOKEN, "ghp_stored", TOKEN]


def test_the_servers_token_is_for_repositories_of_ones_own(
    github: FakeGitHub, guest: Caller
) -> None:
    assert not guest.call("GET", REPOSITORY)["repository"]["can_push"]
    assert guest.refusal("POST", ISSUES, {"title": "x"}) == (400, "github_token_needed")
    github.repositories[NAME].private = True
    assert guest.refusal("GET", REPOSITORY) == (404, "repository_not_found")
    assert tokens(github) == {None}
    project = {"name": "Mine", "repo_url": f"{github.url}/Team/Demo.git"}
    made = guest.client.post("/projects", json=project, headers=guest.headers)
    assert made.status_code == 200
    assert guest.call("GET", REPOSITORY)["repository"]["can_push"]
    assert guest.call("POST", ISSUES, {"title": "x"})["issue"]["author"] == SERVER


def test_the_servers_token_merges_only_what_a_task_of_ones_own_made(
    github: FakeGitHub, guest: Caller, alice: GitHub
) -> None:
    url = opened(alice)
    guest.task(github, pr_url=f"{url}1", pr_number=11)
    assert guest.refusal("POST", f"{PULLS}/1/merge", {}) == (400, "github_token_needed")
    assert not alice.pull(NAME, 1).is_merged
    guest.task(github, pr_url=url, pr_number=1)
    assert guest.call("POST", f"{PULLS}/1/merge", {})["merged"]


@pytest.mark.parametrize(
    ("token", "status", "code"),
    [
        ("ghp_unknown", 403, "github_token_refused"),
        ("two words", 400, "invalid_request"),
        ("ghp_reader", 403, "repository_no_permission"),
        ("ghp_unscoped", 403, "github_token_scope"),
    ],
)
def test_a_token_that_may_not_is_told_why(
    github: FakeGitHub, caller: Caller, token: str, status: int, code: str
) -> None:
    github.add_token("ghp_reader", "bob")
    github.add_token("ghp_unscoped", LOGIN, scopes=())
    caller.headers["X-GitHub-Token"] = token
    assert caller.refusal("POST", ISSUES, {"title": "x"}) == (status, code)


def test_github_that_is_away_is_told(github: FakeGitHub, caller: Caller) -> None:
    github.fail("unavailable")
    answer = caller.ask("GET", REPOSITORY)
    assert (answer.status_code, answer.get_json()["code"]) == (503, "github_unavailable")
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize("path", ["/repos/te am/demo", "/repos/team", "/repos/team/demo/pulls/0"])
def test_what_names_no_repository_is_not_found(
    github: FakeGitHub, caller: Caller, path: str
) -> None:
    assert caller.refusal("GET", path) == (404, "not_found")
    assert caller.refusal("GET", "/repos/team/..") == (400, "invalid_request")
    assert github.requests == []


def test_a_page_may_send_the_token(caller: Caller) -> None:
    answer = caller.client.options(
        f"/api/github{REPOSITORY}",
        headers={
            "Origin": "http://localhost:3000",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization, x-github-token",
        },
    )
    assert "x-github-token" in answer.headers["Access-Control-Allow-Headers"].lower()


def test_the_apps_token_is_asked_for_again_once_github_refuses_it(
    make_app: MakeApp, github: FakeGitHub
) -> None:
    key = app_key()
    github.apps["4711"] = App("4711", public_pem(key), {NAME: 77}, PERMISSIONS)
    app = make_app(
        github_api_url=github.api_url, github_app_id="4711", github_app_private_key=pem(key)
    )
    guest = Caller(app, str(uuid4()))
    guest.task(github)
    github.repositories[NAME].private = True
    assert guest.call("GET", REPOSITORY)["repository"]["is_private"]
    for token in [text for text, known in github.tokens.items() if known.installation]:
        del github.tokens[token]
    assert guest.refusal("GET", REPOSITORY) == (403, "github_token_refused")
    assert guest.call("GET", REPOSITORY)["repository"]["is_private"]
