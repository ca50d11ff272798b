"""Tokens of a GitHub App, and which token is used for a repository."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr, ValidationError

from tests.fakes.github.service import FakeGitHub
from tests.fakes.github.state import App
from tests.support.github.keys import PERMISSIONS, app_key, pem, public_pem
from tests.support.github.names import NAME
from utils.config.settings import Settings, explain_settings
from utils.credentials.github_resolver import TokenSource, choose_token
from utils.errors import AppError, ConfigurationError
from utils.git.repository_url import validate_branch
from utils.github.app import GitHubApp, Purpose
from utils.github.client import GitHub

ASKED = f"GET /repos/{NAME}/installation"
MADE = "POST /app/installations/77/access_tokens"
GRANTED = {**PERMISSIONS, "workflows": "write", "administration": "write"}


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return app_key()


def settings(**changes: Any) -> Settings:
    return Settings(_env_file=None, **changes)


@pytest.fixture
def app(github: FakeGitHub, key: rsa.RSAPrivateKey) -> GitHubApp:
    """Provide the server's own App, installed in the repository."""
    github.apps["4711"] = App("4711", public_pem(key), {NAME: 77}, GRANTED)
    return GitHubApp(
        settings(
            github_api_url=github.api_url,
            github_app_id="4711",
            github_app_private_key=pem(key).replace("\n", "\\n"),
        )
    )


def later(seconds: float) -> Any:
    return time_machine.travel(datetime.now(UTC) + timedelta(seconds=seconds))


def test_a_token_is_for_one_repository_and_may_no_more_than_it_must(
    github: FakeGitHub, app: GitHubApp, bare: Path
) -> None:
    github.add_repository("team/other", bare)
    github.apps["4711"].installations["team/other"] = 77
    token = app.installation_token(NAME, Purpose.CHANGE_PULLS)
    assert token is not None
    assert github.tokens[token].permissions == {"metadata": "read", "pull_requests": "write"}
    assert github.tokens[token].repositories == {NAME}
    with GitHub(github.api_url, token) as client:
        assert client.create_pull(NAME, head="topic", base="main", title="x", body="").number == 1
        with pytest.raises(AppError) as refused:
            client.create_pull("team/other", head="topic", base="main", title="x", body="")
    assert refused.value.code == "github_token_scope"


def test_each_purpose_has_a_token_of_its_own(github: FakeGitHub, app: GitHubApp) -> None:
    made = {app.installation_token(NAME, purpose) for purpose in (*Purpose, *Purpose)}
    assert len(made) == len(Purpose)
    assert {app.installation_token(NAME, purpose) for purpose in Purpose} == made
    may_push = [one.permissions for one in github.tokens.values() if "contents" in one.permissions]
    assert [one.get("workflows") for one in may_push].count("write") == 1
    app.invalidate(NAME)
    assert made.isdisjoint({app.installation_token(NAME, purpose) for purpose in Purpose})


def test_a_token_is_kept_until_shortly_before_its_end(github: FakeGitHub, app: GitHubApp) -> None:
    first = app.installation_token(NAME, Purpose.PUSH)
    assert app.installation_token(NAME.upper(), Purpose.PUSH) == first
    with later(3200):
        assert app.installation_token(NAME, Purpose.PUSH) == first
    assert github.paths() == [ASKED, MADE]
    with later(3400):
        assert app.installation_token(NAME, Purpose.PUSH) != first
    assert github.paths() == [ASKED, MADE] * 2


def test_a_token_that_was_refused_is_made_again(github: FakeGitHub, app: GitHubApp) -> None:
    first = app.installation_token(NAME, Purpose.PUSH)
    app.invalidate(NAME)
    assert app.installation_token(NAME, Purpose.PUSH) != first


def test_many_at_once_ask_once(github: FakeGitHub, app: GitHubApp) -> None:
    with ThreadPoolExecutor(8) as threads:
        tokens = list(threads.map(lambda _: app.installation_token(NAME, Purpose.PUSH), range(8)))
    assert len({*tokens}) == 1
    assert github.paths() == [ASKED, MADE]


def test_an_app_that_is_not_installed_has_no_token(github: FakeGitHub, app: GitHubApp) -> None:
    github.apps["4711"].installations.clear()
    assert app.installation_token(NAME, Purpose.PUSH) is None


def test_an_app_with_another_key_is_the_deployments_mistake(
    github: FakeGitHub, app: GitHubApp
) -> None:
    github.apps.clear()
    with pytest.raises(AppError, match="GITHUB_APP_PRIVATE_KEY") as refused:
        app.installation_token(NAME, Purpose.PUSH)
    assert (refused.value.http_status, refused.value.code) == (503, "github_app_refused")


@pytest.mark.parametrize(
    ("granted", "said"),
    [
        (PERMISSIONS, "repository: workflows: write. "),
        ({**GRANTED, "contents": "read", "issues": "read"}, "repository: contents: write. "),
        ({**GRANTED, "contents": "admin", "workflows": "none"}, "repository: workflows: write. "),
        ({}, "contents: write, metadata: read, pull_requests: write, workflows: write. "),
    ],
)
def test_an_app_without_a_permission_says_which_one(
    github: FakeGitHub, app: GitHubApp, granted: dict[str, str], said: str
) -> None:
    github.apps["4711"].permissions = granted
    with pytest.raises(AppError) as refused:
        app.installation_token(NAME, Purpose.PUSH_WORKFLOWS)
    assert (refused.value.http_status, refused.value.code) == (403, "github_app_permission")
    assert said in refused.value.message
    assert "settings on GitHub" in refused.value.message
    github.apps["4711"].permissions = GRANTED
    assert app.installation_token(NAME, Purpose.PUSH_WORKFLOWS)


def test_a_server_that_does_not_tell_what_it_grants_is_told_all(
    github: FakeGitHub, app: GitHubApp
) -> None:
    github.fail("app_permissions", on=MADE)
    with pytest.raises(AppError, match="metadata: read") as refused:
        app.installation_token(NAME, Purpose.PUSH)
    assert refused.value.code == "github_app_permission"
    assert "workflows" not in refused.value.message


@pytest.mark.parametrize("name", ["empty", "html", "nonsense", "unavailable"])
def test_a_failure_of_github_is_not_kept(github: FakeGitHub, app: GitHubApp, name: str) -> None:
    github.fail(name)
    with pytest.raises(AppError) as refused:
        app.installation_token(NAME, Purpose.PUSH)
    assert refused.value.code == "github_unavailable"
    github.failing.clear()
    assert app.installation_token(NAME, Purpose.PUSH)


def test_an_app_needs_settings() -> None:
    with pytest.raises(ConfigurationError):
        GitHubApp(settings())


def test_an_apps_token_is_nobodys(github: FakeGitHub, app: GitHubApp) -> None:
    with GitHub(github.api_url, app.installation_token(NAME, Purpose.PUSH)) as client:
        assert client.repository(NAME).can_push is None
        with pytest.raises(AppError) as refused:
            client.user()
    assert refused.value.code == "github_token_scope"


@pytest.mark.parametrize(
    ("given", "source", "token"),
    [
        ({"request": SecretStr("r"), "stored": "s"}, TokenSource.REQUEST, "r"),
        ({"request": SecretStr(" "), "stored": SecretStr("s ")}, TokenSource.USER, "s"),
        ({"app_token": lambda name: f"a {name}"}, TokenSource.APP, f"a {NAME}"),
        ({"app_token": lambda _: None}, TokenSource.DEPLOYMENT, "d"),
        ({}, TokenSource.DEPLOYMENT, "d"),
        ({"deployment": None}, TokenSource.NONE, None),
    ],
)
def test_the_most_personal_token_is_used(given: Any, source: TokenSource, token: str) -> None:
    chosen = choose_token(NAME, **{"deployment": SecretStr("d"), **given})
    assert (chosen.source, chosen.token) == (source, token)
    assert token is None or repr(token) not in repr(chosen)


def test_the_app_is_not_asked_where_the_user_has_a_token() -> None:
    def asked(_name: str) -> str:
        raise AssertionError

    assert choose_token(NAME, stored="s", app_token=asked).token == "s"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.github.com/", "github.com"),
        ("https://ghe.example.com/api/v3", "ghe.example.com"),
        ("https://ghe.example.com:8443/api/v3/", "ghe.example.com:8443"),
        ("https://GHE.example.com:443/api/v3", "ghe.example.com"),
        ("https://api.acme.ghe.com", "acme.ghe.com"),
        ("https://api.acme.example/api/v3", "api.acme.example"),
        ("http://127.0.0.1:9000/api/v3", "127.0.0.1:9000"),
    ],
)
def test_the_host_of_repositories_follows_from_the_api(url: str, host: str) -> None:
    assert settings(github_api_url=url).github_host == host


def test_a_task_has_a_branch_and_a_link() -> None:
    assert settings().task_branch(7) == "async-code/task-7"
    assert settings(pull_request_branch="bot/{task_id}-x").task_branch(7) == "bot/7-x"
    assert settings().task_url(7) is None
    assert settings(public_url="http://web.example/").task_url(7) == ("http://web.example/tasks/7")


def test_a_branch_has_room_for_every_number() -> None:
    start = "a" * 200 + "/" + "a" * 36
    longest = settings(pull_request_branch=start + "{task_id}").task_branch(10**18 - 1)
    assert validate_branch(longest) == longest
    with pytest.raises(ValidationError, match="name is longer than 255 bytes"):
        settings(pull_request_branch="a" + start + "{task_id}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("github_api_url", "http://ghe.example.com/api/v3"),
        ("github_api_url", "https://user:word@ghe.example.com"),
        ("github_app_private_key", "marked"),
        ("pull_request_branch", "tasks"),
        ("pull_request_branch", "-tasks/{task_id}"),
        ("pull_request_branch", "a..b/{task_id}"),
        ("pull_request_branch", "a.lock/{task_id}"),
        ("pull_request_branch", "a/{task_id}.lock"),
        ("pull_request_branch", "a/{other}"),
        ("public_url", "web.example"),
    ],
)
def test_settings_that_cannot_work_are_refused(name: str, value: str) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(**{name: value})
    said = "\n".join(explain_settings(refused.value))
    assert name.upper() in said
    assert "marked" not in said


def test_the_parts_of_an_app_need_each_other(key: rsa.RSAPrivateKey) -> None:
    for change in ({"github_app_id": "1"}, {"github_app_private_key": pem(key)}):
        with pytest.raises(ValidationError, match="must be set together"):
            settings(**change)
    assert pem(key) in settings(github_app_id="1", github_app_private_key=pem(key)).secrets
