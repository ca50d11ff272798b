"""A repository that was renamed or transferred, asked for by the name that it had."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.conftest import MakeApp
from tests.fakes.github.service import FakeGitHub
from tests.fakes.github.state import App
from tests.support.backends import Repository, git
from tests.support.github.app import SERVER_TOKEN, Caller
from tests.support.github.keys import PERMISSIONS, app_key, pem, public_pem
from tests.support.github.names import NAME, TOKEN
from tests.support.pull_requests import open_hub
from utils.config.settings import Settings
from utils.errors import AppError
from utils.github.app import GitHubApp, Purpose
from utils.github.client import GitHub

ELSEWHERE = "crew/elsewhere"
ASKED = f"GET /repos/{NAME}/installation"
MADE = "POST /app/installations/77/access_tokens"
CALLS: tuple[tuple[str, str, Any], ...] = (
    ("GET", "pulls", None),
    ("GET", "pulls/1", None),
    ("PUT", "pulls/1", {"title": "Another"}),
    ("POST", "issues", {"title": "It breaks"}),
    ("GET", "issues/1", None),
    ("POST", "issues/1/comments", {"body": "Hello"}),
)


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return app_key()


@pytest.fixture(scope="module")
def own(key: rsa.RSAPrivateKey) -> dict[str, Any]:
    """Provide the settings of a server with its own App."""
    return {"github_app_id": "4711", "github_app_private_key": pem(key)}


@pytest.fixture
def github(github: FakeGitHub, key: rsa.RSAPrivateKey) -> FakeGitHub:
    """GitHub where the App is installed in the one repository."""
    github.apps["4711"] = App("4711", public_pem(key), {NAME: 77}, PERMISSIONS)
    return github


@pytest.fixture
def app(github: FakeGitHub, own: dict[str, Any]) -> GitHubApp:
    return GitHubApp(Settings(_env_file=None, github_api_url=github.api_url, **own))


@pytest.fixture(params=["own", "app", "deployment"])
def caller(
    request: pytest.FixtureRequest, make_app: MakeApp, github: FakeGitHub, own: dict[str, Any]
) -> Caller:
    """Provide a user with a project in the repository, with each of three kinds of token."""
    github.add_token(SERVER_TOKEN, "server")
    github.repositories[NAME].roles["server"] = "write"
    whose: dict[str, Any] = {"own": {}, "app": own, "deployment": {"github_token": SERVER_TOKEN}}
    app = make_app(github_api_url=github.api_url, **whose[request.param])
    made = Caller(app, str(uuid4()), TOKEN if request.param == "own" else None)
    made.project(github)
    return made


def test_the_apps_token_is_for_the_repository_wherever_it_is(
    quiet: None, github: FakeGitHub, app: GitHubApp
) -> None:
    github.move(NAME, ELSEWHERE)
    number = github.repositories[ELSEWHERE].id
    token = app.installation_token(NAME, Purpose.PUSH)
    assert token is not None
    assert github.paths() == [ASKED, f"GET /repositories/{number}/installation", MADE]
    assert github.tokens[token].repositories == {ELSEWHERE}
    assert app.installation_token(NAME, Purpose.PUSH) == token
    assert len(github.requests) == 3
    with GitHub(github.api_url, token) as client:
        assert client.create_pull(ELSEWHERE, head="topic", base="main", title="x", body="").number


def test_the_app_asks_no_other_host(github: FakeGitHub, app: GitHubApp) -> None:
    github.move(NAME, ELSEWHERE)
    github.moved_to_api = "https://api.elsewhere.example"
    assert app.installation_token(NAME, Purpose.READ_METADATA)
    github.moved_to_api = "https://api.elsewhere.example/no/number/in#"
    app.invalidate(NAME)
    with pytest.raises(AppError) as refused:
        app.installation_token(NAME, Purpose.READ_METADATA)
    assert refused.value.code == "repository_moved"


def test_an_app_that_did_not_move_along_has_no_token(github: FakeGitHub, app: GitHubApp) -> None:
    github.move(NAME, ELSEWHERE)
    github.apps["4711"].installations.clear()
    assert app.installation_token(NAME, Purpose.READ_METADATA) is None


def test_a_slow_answer_is_not_followed_for_longer_than_there_is_time(
    github: FakeGitHub, app: GitHubApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A quarter of the time for all requests, which the fixture has raised.
    seconds = count(step=15)
    clock = SimpleNamespace(time=time.time, monotonic=lambda: next(seconds))
    monkeypatch.setattr("utils.github.app.time", clock)
    assert app.installation_token(NAME, Purpose.READ_METADATA)
    app.invalidate(NAME)
    github.move(NAME, ELSEWHERE)
    with pytest.raises(AppError) as refused:
        app.installation_token(NAME, Purpose.READ_METADATA)
    assert (refused.value.http_status, refused.value.code) == (503, "github_busy")
    assert refused.value.retry_after_seconds


def test_whoever_asks_by_the_former_name_is_told_the_present_one(
    github: FakeGitHub, caller: Caller
) -> None:
    with GitHub(github.api_url, TOKEN) as alice:
        url = alice.create_pull(NAME, head="topic", base="main", title="Two", body="").url
    caller.task(github, pr_url=url, pr_number=1)
    github.move(NAME, ELSEWHERE)
    for method, path, body in (*CALLS, ("POST", "pulls/1/merge", {})):
        answer = caller.ask(method, f"/repos/{NAME}/{path}", body)
        assert (answer.status_code, answer.get_json()["code"]) == (409, "repository_moved")
        assert ELSEWHERE in answer.get_json()["error"]
    [pull] = github.repositories[ELSEWHERE].issues.values()
    assert (pull.title, pull.state, pull.comments) == ("Two", "open", [])
    # That name is of use once the project has it too.
    caller.project(github, ELSEWHERE)
    caller.task(github, pr_url=url.replace(NAME, ELSEWHERE), pr_number=1)
    for method, path, body in CALLS:
        caller.call(method, f"/repos/{ELSEWHERE}/{path}", body)


def test_a_repository_is_found_by_its_former_name(github: FakeGitHub, caller: Caller) -> None:
    github.repositories[NAME].private = True
    github.move(NAME, ELSEWHERE)
    found = caller.call("GET", f"/repos/{NAME}")["repository"]
    assert (found["full_name"], found["moved_from"]) == (ELSEWHERE, NAME)


def test_a_status_is_set_where_the_repository_is(
    github: FakeGitHub, caller: Caller, origin: Repository
) -> None:
    task_id = caller.task(github, pr_commit=origin.head)
    github.move(NAME, ELSEWHERE)
    answer = caller.call("POST", f"/tasks/{task_id}/status", {"state": "success"})
    assert answer["commit"] == origin.head
    [status] = github.repositories[ELSEWHERE].statuses[origin.head]
    assert (status["state"], status["context"]) == ("success", "async-code")


def test_a_pull_request_is_merged_where_it_was_made(
    github: FakeGitHub, caller: Caller, bare: Path
) -> None:
    url = f"{github.url}/{ELSEWHERE}/pull/1"
    task_id = caller.task(github, pr_url=url, pr_number=1)
    github.move(NAME, ELSEWHERE)
    with GitHub(github.api_url, TOKEN) as alice:
        made = alice.create_pull(ELSEWHERE, head="topic", base="main", title="Two", body="")
    assert made.url == url
    merged = caller.call("POST", f"/repos/{ELSEWHERE}/pulls/1/merge", {})
    assert merged["sha"] == git(bare, "rev-parse", "main")
    assert caller.state(task_id) == "merged"


@pytest.mark.parametrize("caller", ["app", "deployment"], indirect=True)
def test_the_servers_token_merges_nothing_of_what_has_taken_the_former_name(
    github: FakeGitHub, caller: Caller, bare: Path
) -> None:
    caller.task(github, pr_url=f"{github.url}/{ELSEWHERE}/pull/1", pr_number=1)
    github.move(NAME, ELSEWHERE)
    github.add_repository(NAME, bare, roles={"server": "admin", "alice": "write"})
    github.apps["4711"].installations[NAME] = 77
    with GitHub(github.api_url, TOKEN) as alice:
        alice.create_pull(NAME, head="topic", base="main", title="Not its", body="")
    refused = caller.refusal("POST", f"/repos/{NAME}/pulls/1/merge", {})
    assert refused == (400, "github_token_needed")


def test_what_has_moved_out_of_sight_is_not_found(github: FakeGitHub, caller: Caller) -> None:
    github.move(NAME, ELSEWHERE)
    found = github.repositories[ELSEWHERE]
    found.private = True
    found.roles.clear()
    github.apps["4711"].installations.clear()
    for path in ("", "/pulls"):
        assert caller.refusal("GET", f"/repos/{NAME}{path}") == (404, "repository_not_found")


def test_the_apps_pull_request_follows_the_repository_when_asked_to(
    small_origin: Repository, tmp_path: Path, key: rsa.RSAPrivateKey, own: dict[str, Any]
) -> None:
    with open_hub(tmp_path, **own) as hub:
        hosted = hub.host(small_origin)
        hub.github.apps["4711"] = App("4711", public_pem(key), {hosted.name: 77}, PERMISSIONS)
        task_id = hosted.task()
        new = "team/elsewhere"
        hub.github.move(hosted.name, new)
        folder = hosted.server.bare("elsewhere")
        hosted.bare.rename(folder)
        hub.github.repositories[new].bare = folder
        # Its tokens are made when they are needed; the git server knows none of them.
        hosted.server.tokens.clear()
        answer = hosted.create(task_id, github_token=None)
        assert (answer["http_status"], answer["code"]) == (409, "repository_moved")
        assert new in answer["error"]
        assert hub.github.pulls(new) == []
        made = hosted.created(task_id, github_token=None, allow_moved=True)
        assert f"/{new}/pull/" in made["pr_url"]
        again = hosted.created(task_id, github_token=None, allow_moved=True)
        assert (again["pr_url"], again["created"]) == (made["pr_url"], False)
        [pull] = hub.github.pulls(new)
        assert git(folder, "rev-parse", pull.head) == made["commit"]
