"""An application that starts tasks for comments, and GitHub's side of its webhook."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.conftest import MakeApp
from tests.fakes.github.service import FakeGitHub
from tests.github_app import BOT_USER, PAGE, SERVER_TOKEN, STARTS_TASKS, Caller, Deliverer
from tests.github_names import NAME
from utils.github import GitHub

pytest_plugins = ("tests.github_fixtures",)


@pytest.fixture(scope="module")
def commenting(make_app: MakeApp, github_server: FakeGitHub) -> Flask:
    """An application that starts tasks for comments."""
    made = make_app(github_api_url=github_server.api_url, public_url=PAGE, **STARTS_TASKS)
    Caller(made, BOT_USER).project(github_server)
    return made


@pytest.fixture
def hook(commenting: Flask, github: FakeGitHub, alice: GitHub) -> Deliverer:
    """GitHub's side of the webhook, with issue 1 to comment on."""
    github.add_token(SERVER_TOKEN, "server")
    github.repositories[NAME].roles["server"] = "write"
    alice.create_issue(NAME, title="It breaks")
    github.requests.clear()
    return Deliverer(commenting)
