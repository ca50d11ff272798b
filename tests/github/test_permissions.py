"""Tokens of the GitHub App have exactly the permissions that each purpose needs."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from flask import Flask

from tests.conftest import MakeApp
from tests.fakes.github.service import FakeGitHub
from tests.fakes.github.state import App
from tests.support.backends import GIT_ENVIRONMENT, Repository
from tests.support.git.server import serve_git
from tests.support.github.app import BOT_USER, STARTS_TASKS, Caller, WebhookSender
from tests.support.github.comments import comment, deliver_comment
from tests.support.github.keys import PERMISSIONS, app_key, pem, public_pem
from tests.support.github.names import NAME
from tests.support.pull_requests import open_hub
from tests.support.waiting import eventually
from utils.github.client import GitHub
from utils.models.tasks import TERMINAL_STATUSES

Granted = dict[str, str]

READ_PULLS = {"pull_requests": "read"}
PUSH = {"contents": "write", "pull_requests": "write"}
ROUTES: tuple[tuple[str, str, Any, Granted], ...] = (
    ("GET", f"/repos/{NAME}", None, {}),
    ("GET", f"/repos/{NAME}/pulls", None, READ_PULLS),
    ("GET", f"/repos/{NAME}/pulls/1", None, READ_PULLS),
    ("PUT", f"/repos/{NAME}/pulls/1", {"title": "Two"}, {"pull_requests": "write"}),
    ("PUT", f"/repos/{NAME}/pulls/1", {"draft": True}, PUSH),
    ("POST", f"/repos/{NAME}/pulls/1/merge", {}, PUSH),
    ("GET", f"/repos/{NAME}/pulls/1/comments", None, READ_PULLS),
    (
        "POST",
        f"/repos/{NAME}/pulls/1/comments",
        {"path": "two.txt", "line": 1, "body": "x"},
        {"pull_requests": "write"},
    ),
    ("GET", f"/repos/{NAME}/pulls/1/reviews", None, READ_PULLS),
    (
        "POST",
        f"/repos/{NAME}/pulls/1/reviews",
        {"event": "comment", "body": "x"},
        {"pull_requests": "write"},
    ),
    (
        "GET",
        f"/repos/{NAME}/pulls/1/checks",
        None,
        {"checks": "read", "contents": "read", "statuses": "read", **READ_PULLS},
    ),
    ("POST", f"/repos/{NAME}/issues", {"title": "x", "labels": ["bug"]}, {"issues": "write"}),
    ("GET", f"/repos/{NAME}/issues/1", None, {"issues": "read", **READ_PULLS}),
    ("GET", f"/repos/{NAME}/issues/2", None, {"issues": "read", **READ_PULLS}),
    (
        "POST",
        f"/repos/{NAME}/issues/1/comments",
        {"body": "x"},
        {"issues": "write", "pull_requests": "write"},
    ),
    ("POST", "/tasks/{task_id}/status", {"state": "success"}, {"statuses": "write"}),
)


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return app_key()


@pytest.fixture
def app(make_app: MakeApp, github: FakeGitHub, alice: GitHub, key: rsa.RSAPrivateKey) -> Flask:
    """Provide an application with an App; a private repository has pull request 1 and issue 2."""
    alice.create_pull(NAME, head="topic", base="main", title="Add two", body="")
    alice.create_issue(NAME, title="It breaks")
    github.repositories[NAME].private = True
    github.apps["4711"] = App("4711", public_pem(key), {NAME: 77}, PERMISSIONS)
    return make_app(
        github_api_url=github.api_url,
        github_app_id="4711",
        github_app_private_key=pem(key),
        **STARTS_TASKS | {"github_token": None},
    )


def grant(github: FakeGitHub, permissions: Granted) -> None:
    """Have the installed App be granted just this."""
    github.apps["4711"].permissions = permissions


def made(github: FakeGitHub) -> list[Granted]:
    """Return what the App's tokens may do, oldest first, beside to read metadata."""
    tokens = [token.permissions for token in github.tokens.values() if token.installation]
    assert all(permissions.pop("metadata") == "read" for permissions in tokens)
    return tokens


@pytest.mark.parametrize(("method", "path", "body", "needed"), ROUTES)
def test_a_route_works_with_what_it_needs_and_tells_what_of_that_is_lacking(
    github: FakeGitHub,
    app: Flask,
    origin: Repository,
    method: str,
    path: str,
    body: Any,
    needed: Granted,
) -> None:
    caller = Caller(app, str(uuid4()))
    pull = {"pr_url": f"{github.url}/{NAME}/pull/1", "pr_commit": origin.head}
    path = path.format(task_id=caller.task(github, **pull))
    granted = {"metadata": "read", **needed}
    for name, level in needed.items():
        grant(github, {one: granted[one] for one in granted if one != name})
        answer = caller.ask(method, path, body)
        assert (answer.status_code, answer.get_json()["code"]) == (403, "github_app_permission")
        assert f"for this repository: {name}: {level}. " in answer.get_json()["error"]
    grant(github, granted)
    caller.call(method, path, body)
    assert made(github) == [needed]


def test_a_pull_request_is_made_without_permissions_for_issues_and_statuses(
    small_origin: Repository, tmp_path: Path, key: rsa.RSAPrivateKey
) -> None:
    app = {"github_app_id": "4711", "github_app_private_key": pem(key)}
    with open_hub(tmp_path, **app) as hub:
        hosted = hub.host(small_origin)
        granted = {"metadata": "read", **PUSH}
        hub.github.apps["4711"] = App("4711", public_pem(key), {hosted.name: 77}, granted)
        task_id = hosted.task()
        # Its tokens are made when they are needed; the git server knows none of them.
        hosted.server.tokens.clear()
        options = {"labels": ["bug"], "reviewers": ["carol"], "draft": True}
        answer = hosted.created(task_id, github_token=None, **options)
        assert answer["warnings"] == []
        assert made(hub.github) == [PUSH]


@pytest.mark.parametrize(
    ("number", "needed"), [(1, {"pull_requests": "write"}), (2, {"issues": "write"})]
)
def test_a_comment_is_answered_with_a_token_for_no_more_and_the_clones_cannot_push(
    github: FakeGitHub,
    app: Flask,
    origin: Repository,
    tmp_path: Path,
    number: int,
    needed: Granted,
) -> None:
    hook = WebhookSender(app)
    Caller(app, BOT_USER).project(github)
    with serve_git(tmp_path / "served") as served:
        served.publish(origin, "demo")
        github.git_port, github.repositories[NAME].bare = served.port, served.bare("demo")
        grant(github, {"metadata": "read", "contents": "read", **needed})
        message = deliver_comment(
            hook, comment("/async-code agent=scripted Say hello", number=number, pull=number == 1)
        )
        assert message.endswith(" is queued.")
        eventually(lambda: hook.tasks[0].status in TERMINAL_STATUSES)
        assert (hook.tasks[0].status, hook.tasks[0].error) == ("completed", None)
        assert made(github) == [needed, {"contents": "read"}]
        clone = [*github.tokens][-1]
        url = f"http://x:{clone}@{github.host}/{NAME}"
        assert asked(url, "ls-remote", origin) == 0
        assert asked(url, "push", origin, "HEAD:refs/heads/pushed") != 0
        assert served.requests[-1][1].endswith("git-upload-pack"), "the push came no further"


def asked(url: str, command: str, origin: Repository, *more: str) -> int:
    """Run git against an address; return how that ended."""
    return subprocess.run(
        ["git", command, url, *more],
        cwd=origin.folder,
        env=GIT_ENVIRONMENT,
        capture_output=True,
        check=False,
    ).returncode
