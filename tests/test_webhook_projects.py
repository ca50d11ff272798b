"""Comments start tasks only where `WEBHOOK_USER_ID` has a project that is active."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.conftest import MakeApp
from tests.fakes.github.service import FakeGitHub
from tests.github_app import BOT_USER, SERVER_TOKEN, STARTS_TASKS, Caller, Deliverer, services_of
from tests.github_comments import comment, said, started
from tests.github_names import NAME
from utils.errors import NotFound
from utils.github import GitHub
from utils.webhook_comments import NO_PROJECT

pytest_plugins = ("tests.github_fixtures",)


@pytest.fixture
def app(make_app: MakeApp, github: FakeGitHub, alice: GitHub) -> Flask:
    """An application that nobody has used yet, and issue 1 to comment on."""
    github.add_token(SERVER_TOKEN, "server")
    github.repositories[NAME].roles["server"] = "write"
    alice.create_issue(NAME, title="It breaks")
    github.requests.clear()
    return make_app(github_api_url=github.api_url, **STARTS_TASKS)


def test_a_user_whom_nobody_has_seen_starts_nothing(
    app: Flask, github: FakeGitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert said(Deliverer(app), comment("/async-code Fix it")) == NO_PROJECT
    assert github.requests == []
    [line] = [one for one in capsys.readouterr().err.splitlines() if "webhook.no_project" in one]
    assert NAME in line
    with pytest.raises(NotFound):
        services_of(app).database.get_user(BOT_USER)


def test_an_inactive_project_lets_nobody_start_tasks(app: Flask, github: FakeGitHub) -> None:
    hook, caller = Deliverer(app), Caller(app, BOT_USER)
    caller.project(github)
    [project] = services_of(app).database.list_projects(BOT_USER)
    path = f"/projects/{project.id}"
    caller.client.put(path, json={"is_active": False}, headers=caller.headers)
    payload = comment("/async-code Fix it")
    assert said(hook, payload) == NO_PROJECT
    assert (hook.tasks, github.requests) == ([], [])
    caller.client.put(path, json={"is_active": True}, headers=caller.headers)
    said(hook, payload)
    started(hook, 0)
