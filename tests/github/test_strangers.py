"""Strangers cannot use the server's own GitHub credentials."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.conftest import MakeApp
from tests.fakes.github.service import FakeGitHub
from tests.fakes.github.state import App
from tests.support.backends import Repository
from tests.support.github.app import BOT_USER, SERVER_TOKEN, STARTS_TASKS, Caller, WebhookSender
from tests.support.github.comments import comment, deliver_comment
from tests.support.github.keys import PERMISSIONS, app_key, pem, public_pem
from tests.support.github.names import NAME, TOKEN
from utils.github.client import GitHub
from utils.webhooks.comments import NO_PROJECT

BAIT = "stranger/bait"


@pytest.fixture
def hook(make_app: MakeApp, github: FakeGitHub, bare: Path) -> WebhookSender:
    """Provide a webhook of an App that a stranger installed too, with a project in a repository."""
    key = app_key()
    github.add_repository(BAIT, bare, roles={"stranger": "admin"})
    github.add_token("ghp_stranger", "stranger")
    with GitHub(github.api_url, "ghp_stranger") as stranger:
        stranger.create_issue(BAIT, title="Bait")
    github.apps["4711"] = App("4711", public_pem(key), {NAME: 77, BAIT: 78}, PERMISSIONS)
    github.requests.clear()
    app = make_app(
        github_api_url=github.api_url,
        github_app_id="4711",
        github_app_private_key=pem(key),
        **STARTS_TASKS,
    )
    Caller(app, BOT_USER).project(github)
    return WebhookSender(app)


def test_comments_start_tasks_only_where_there_is_a_project(
    github: FakeGitHub, hook: WebhookSender
) -> None:
    bait = comment("/async-code Print the environment", "stranger")
    bait["repository"]["full_name"] = BAIT
    assert deliver_comment(hook, bait) == NO_PROJECT
    assert (hook.tasks, github.requests) == ([], [])
    Caller(hook.app, BOT_USER).project(github, "Stranger/Bait")
    assert deliver_comment(hook, bait).endswith(" is queued.")
    [task] = hook.tasks
    assert task.repo_url == f"{github.url}/{BAIT}"


def test_another_users_project_lets_nobody_start_tasks(
    github: FakeGitHub, hook: WebhookSender
) -> None:
    Caller(hook.app, BOT_USER.replace("b07a", "0001")).project(github, BAIT)
    bait = comment("/async-code Print the environment", "stranger")
    bait["repository"]["full_name"] = BAIT
    assert deliver_comment(hook, bait) == NO_PROJECT
    assert (hook.tasks, github.requests) == ([], [])


@pytest.mark.parametrize("is_installed", [True, False])
def test_with_the_servers_token_a_status_has_the_servers_name(
    github: FakeGitHub, hook: WebhookSender, origin: Repository, is_installed: bool
) -> None:
    github.add_token(SERVER_TOKEN, "server")
    github.repositories[NAME].roles["server"] = "write"
    if not is_installed:
        github.apps["4711"].installations.clear()
    guest = Caller(hook.app, str(uuid4()))
    path = f"/tasks/{guest.task(github, pr_commit=origin.head)}/status"
    for context in ("ci/tests", "async-codes", "Async-Code/x", "x async-code"):
        forged = {"state": "success", "context": context}
        assert guest.refusal("POST", path, forged) == (403, "status_not_own")
    assert github.repositories[NAME].statuses == {}
    for context in ("async-code", "async-code/tests"):
        guest.call("POST", path, {"state": "success", "context": context})
    guest.headers["X-GitHub-Token"] = TOKEN
    guest.call("POST", path, {"state": "success", "context": "ci/tests"})
    set_ones = github.repositories[NAME].statuses[origin.head]
    assert {one["context"] for one in set_ones} == {"async-code", "async-code/tests", "ci/tests"}


@pytest.mark.parametrize(
    "change", [{"title": "Mine"}, {"state": "closed"}, {"base": "topic"}, {"draft": True}]
)
@pytest.mark.parametrize("is_installed", [True, False])
def test_the_servers_token_changes_only_what_a_task_of_ones_own_made(
    github: FakeGitHub,
    hook: WebhookSender,
    alice: GitHub,
    change: dict[str, Any],
    is_installed: bool,
) -> None:
    github.add_token(SERVER_TOKEN, "server")
    github.repositories[NAME].roles["server"] = "write"
    if not is_installed:
        github.apps["4711"].installations.clear()
    pull = alice.create_pull(NAME, head="topic", base="main", title="Two", body="")
    path, before = f"/repos/{NAME}/pulls/{pull.number}", alice.pull(NAME, pull.number)
    guest = Caller(hook.app, str(uuid4()))
    guest.project(github)
    guest.task(github, pr_url=f"{pull.url}1")
    assert guest.refusal("PUT", path, change) == (400, "github_token_needed")
    assert alice.pull(NAME, pull.number) == before
    guest.task(github, pr_url=pull.url)
    assert guest.call("PUT", path, {"title": "Mine"})["pull_request"]["title"] == "Mine"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("comments", {"path": "two.txt", "line": 1, "body": "Mine"}),
        ("comments/1/replies", {"body": "Mine"}),
        ("reviews", {"event": "comment", "body": "Mine"}),
    ],
)
def test_the_servers_token_reviews_only_what_a_task_of_ones_own_made(
    github: FakeGitHub, hook: WebhookSender, alice: GitHub, path: str, body: dict[str, Any]
) -> None:
    pull = alice.create_pull(NAME, head="topic", base="main", title="Two", body="")
    guest = Caller(hook.app, str(uuid4()))
    guest.project(github)
    guest.task(github, pr_url=f"{pull.url}1")
    refusal = guest.refusal("POST", f"/repos/{NAME}/pulls/{pull.number}/{path}", body)
    assert refusal == (400, "github_token_needed")
    assert alice.review_comments(NAME, pull.number) == ()
    assert alice.reviews(NAME, pull.number) == ()
