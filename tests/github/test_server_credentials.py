"""The server's own GitHub credentials are used for the users and repositories that are set."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from pydantic import ValidationError

from tests.conftest import JWT_SECRET, MakeApp
from tests.fakes.github.service import FakeGitHub
from tests.support.github.app import BOT_USER, SERVER_TOKEN, services_of
from tests.support.github.names import NAME
from utils.config.settings import Settings
from utils.credentials.github_resolver import GitHubTokenResolver
from utils.github.app import Purpose
from utils.models.users import Scope

ONE, TWO = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
PRODUCTION: dict[str, Any] = {
    "environment": "production",
    "sandbox": "local",
    "jwt_secret": JWT_SECRET,
}

# Settings, and the pairs of a user and a repository that may use the credentials.
EVERY = {(user, name) for user in (ONE, TWO) for name in ("team/app", "other/app")}
CASES: dict[str, tuple[dict[str, Any], set[tuple[str, str]]]] = {
    "development": ({}, EVERY),
    "production": (PRODUCTION, set()),
    "one user": (
        {**PRODUCTION, "github_token_users": f"{ONE.upper()},"},
        {(ONE, "team/app"), (ONE, "other/app")},
    ),
    "one user in development": (
        {"github_token_users": ONE},
        {(ONE, "team/app"), (ONE, "other/app")},
    ),
    "every user": ({**PRODUCTION, "github_token_users": "*"}, EVERY),
    "one repository": (
        {**PRODUCTION, "github_token_repositories": "Team/App"},
        {(ONE, "team/app"), (TWO, "team/app")},
    ),
    "an owner": (
        {**PRODUCTION, "github_token_repositories": "team/*"},
        {(ONE, "team/app"), (TWO, "team/app")},
    ),
    "both": (
        {**PRODUCTION, "github_token_users": ONE, "github_token_repositories": "team/app"},
        {(ONE, "team/app")},
    ),
    "the webhook's user": (
        {**PRODUCTION, "webhook_user_id": TWO},
        {(TWO, "team/app"), (TWO, "other/app")},
    ),
    "every repository": ({**PRODUCTION, "github_token_repositories": "*"}, EVERY),
}


@pytest.mark.parametrize(("settings", "allowed"), CASES.values(), ids=CASES)
def test_only_who_is_listed_may_use_them(
    app: Flask, settings: dict[str, Any], allowed: set[tuple[str, str]]
) -> None:
    given = Settings.model_validate({"github_token": SERVER_TOKEN, **settings})
    services = services_of(app)
    tokens = GitHubTokenResolver(given, services.database, services.vault, None)
    for user, name in EVERY:
        spelled = name.title()
        chosen = tokens.server_token(user, spelled, Purpose.PUSH)
        expected = SERVER_TOKEN if (user, name) in allowed else None
        assert (tokens.may_use_server_token(user, spelled), chosen.token) == (
            expected is not None,
            expected,
        )
    assert tokens.server_token(None, "other/app", Purpose.READ_METADATA).token == SERVER_TOKEN


def test_without_credentials_nobody_may_use_them(app: Flask) -> None:
    assert not services_of(app).github_tokens.may_use_server_token(ONE, "team/app")


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_stranger_in_production_acts_without_the_servers_token(
    make_app: MakeApp, github: FakeGitHub, is_listed: bool
) -> None:
    user = str(uuid4())
    github.add_token(SERVER_TOKEN, "server")
    github.repositories[NAME].roles["server"] = "write"
    app = make_app(
        **PRODUCTION,
        github_api_url=github.api_url,
        github_token=SERVER_TOKEN,
        allow_local_repos=True,
        github_token_users=user if is_listed else BOT_USER,
    )
    services = services_of(app)
    services.database.ensure_user(user)
    key = services.api_keys.create(user, "Laptop", Scope.ADMIN, None)[0]
    client, headers = app.test_client(), {"Authorization": f"Bearer {key}"}
    project = {"name": "Mine", "repo_url": f"{github.url}/{NAME}"}
    assert client.post("/projects", json=project, headers=headers).status_code == 200
    github.requests.clear()
    client.get(f"/github/repos/{NAME}", headers=headers)
    client.post(f"/github/repos/{NAME}/issues", json={"title": "Mine"}, headers=headers)
    used = {request.token for request in github.requests}
    assert (SERVER_TOKEN in used) == is_listed


@pytest.mark.parametrize(
    "changes",
    [
        {"github_token_users": "somebody"},
        {"github_token_users": "*,me"},
        {"github_token_repositories": "team"},
        {"github_token_repositories": "https://github.com/team/app"},
        {"github_token_repositories": "*/app"},
    ],
)
def test_a_list_that_means_nothing_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(changes)
