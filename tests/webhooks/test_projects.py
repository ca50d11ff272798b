"""Comments start tasks only where `WEBHOOK_USER_ID` has a project that is active."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.conftest import MakeApp
from tests.fakes.github.service import FakeGitHub
from tests.support.github.app import (
    BOT_USER,
    SERVER_TOKEN,
    STARTS_TASKS,
    Caller,
    WebhookSender,
    services_of,
)
from tests.support.github.comments import comment, deliver_comment, started
from tests.support.github.names import NAME
from utils.errors import NotFound
from utils.github.client import GitHub
from utils.webhooks.comments import NO_PROJECT


@pytest.fixture
def app(make_app: MakeApp, github: FakeGitHub, alice: GitHub) -> Flask:
    """Provide an unused application, and issue 1 to comment on."""
    github.add_token(SERVER_TOKEN, "server")
    github.repositories[NAME].roles["server"] = "write"
    alice.create_issue(NAME, title="It breaks")
    github.requests.clear()
    return make_app(github_api_url=github.api_url, **STARTS_TASKS)


def test_a_user_whom_nobody_has_seen_starts_nothing(
    app: Flask, github: FakeGitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert deliver_comment(WebhookSender(app), comment("/async-code Fix it")) == NO_PROJECT
    assert github.requests == []
    [line] = [one for one in capsys.readouterr().err.splitlines() if "webhook.no_project" in one]
    assert NAME in line
    with pytest.raises(NotFound):
        services_of(app).database.get_user(BOT_USER)


def test_an_inactive_project_lets_nobody_start_tasks(app: Flask, github: FakeGitHub) -> None:
    hook, caller = WebhookSender(app), Caller(app, BOT_USER)
    caller.project(github)
    [project] = services_of(app).database.list_projects(BOT_USER)
    path = f"/projects/{project.id}"
    caller.client.put(path, json={"is_active": False}, headers=caller.headers)
    payload = comment("/async-code Fix it")
    assert deliver_comment(hook, payload) == NO_PROJECT
    assert (hook.tasks, github.requests) == ([], [])
    caller.client.put(path, json={"is_active": True}, headers=caller.headers)
    deliver_comment(hook, payload)
    started(hook, 0)


@pytest.mark.parametrize("form", ["{}/", "{}.git/", "{}.git"])
def test_a_project_may_be_written_past_the_server_with_any_spelling(
    app: Flask, github: FakeGitHub, form: str
) -> None:
    hook, database = WebhookSender(app), services_of(app).database
    Caller(app, BOT_USER).project(github, "team/another")
    [project] = database.list_projects(BOT_USER)
    database.update_project(BOT_USER, project.id, {"repo_url": "no address"})
    assert deliver_comment(hook, comment("/async-code Fix it")) == NO_PROJECT
    address = form.format(f"{github.url}/{NAME.upper()}")
    database.update_project(BOT_USER, project.id, {"repo_url": address})
    deliver_comment(hook, comment("/async-code Fix it"))
    assert started(hook, 0).project_id == project.id
