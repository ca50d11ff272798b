"""Checks of a token change nothing on GitHub, and API and git agree about its permissions."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fakes.github.service import FakeGitHub
from tests.support.backends import Repository, git
from tests.support.git.server import serve_git
from tests.support.github.names import LOGIN, NAME, TOKEN
from utils.config.settings import Settings
from utils.errors import AppError
from utils.git.repository_url import github_full_name
from utils.github.client import GitHub
from utils.github.token_access import TokenAccess, check_access
from utils.telemetry import configure_logging


def access(github: FakeGitHub, token: str, name: str | None = NAME) -> TokenAccess:
    with GitHub(github.api_url, token) as client:
        return check_access(client, name)


def test_a_classic_token_may_what_its_user_and_its_scopes_allow(github: FakeGitHub) -> None:
    github.add_token("admin", "carol", scopes=("repo", "workflow"))
    github.add_token("small", LOGIN, scopes=("public_repo",))
    github.add_token("none", LOGIN, scopes=())
    github.add_token("reader", "bob")
    found = {name: access(github, name) for name in ("admin", TOKEN, "small", "none", "reader")}
    assert [it.writes for it in found.values()] == [True, True, True, False, False]
    assert [it.administers for it in found.values()] == [True, False, False, False, False]
    assert [it.changes_workflows for it in found.values()] == [True, False, False, False, False]
    assert all(it.reads_branches and it.is_certain for it in found.values())
    assert {request.method for request in github.requests} == {"GET"}
    assert len(github.requests) == 3 * len(found)


def test_a_fine_grained_token_is_its_users_until_it_is_used(github: FakeGitHub) -> None:
    github.repositories[NAME].private = True
    github.add_token("github_pat_x", LOGIN, scopes=None, repositories=frozenset({NAME}))
    found = access(github, "github_pat_x")
    assert (found.writes, found.reads_branches) == (True, False)
    assert (found.is_certain, found.changes_workflows) == (False, None)


def test_of_an_apps_token_nothing_is_told(github: FakeGitHub) -> None:
    permissions = {"contents": "read", "metadata": "read"}
    names = frozenset({NAME})
    github.add_token(
        "ghs_x",
        "app[bot]",
        scopes=None,
        permissions=permissions,
        repositories=names,
        installation=77,
    )
    found = access(github, "ghs_x")
    assert (found.user, found.is_certain, found.changes_workflows) == (None, False, None)
    assert (found.writes, found.reads_branches, found.administers) == (True, True, False)
    github.repositories[NAME].archived = True
    assert not access(github, "ghs_x").writes
    github.fail("sso", on="/user")
    with pytest.raises(AppError) as refused:
        access(github, "ghs_x")
    assert refused.value.code == "github_sso_required"


def test_an_archived_repository_is_read_only(github: FakeGitHub) -> None:
    github.repositories[NAME].archived = True
    found = access(github, TOKEN)
    assert (found.writes, found.reads_branches) == (False, True)


def test_without_a_repository_only_the_user_is_asked_for(github: FakeGitHub) -> None:
    user = access(github, TOKEN, None).user
    assert user
    assert user.login == LOGIN
    assert github.paths() == ["GET /user"]


def test_what_is_pushed_with_git_is_asked_for_over_the_api(
    github: FakeGitHub, alice: GitHub, origin: Repository, tmp_path: Path
) -> None:
    with serve_git(tmp_path / "served") as served:
        served.publish(origin, "demo")
        github.git_port = served.port
        github.repositories[NAME].bare = served.bare("demo")
        git(served.bare("demo"), "config", "http.receivepack", "true")
        url = f"{github.url}/{NAME}.git"
        assert github_full_name(url, Settings(github_api_url=github.api_url).github_host) == NAME
        git(tmp_path, "clone", "--quiet", url, "work")
        (tmp_path / "work" / "new.txt").write_text("new\n")
        git(tmp_path / "work", "add", "--all")
        git(tmp_path / "work", "commit", "--quiet", "--message", "New")
        git(tmp_path / "work", "push", "--quiet", "origin", "HEAD:refs/heads/new")
        pull = alice.create_pull(NAME, head="new", base="main", title="New", body="")
    assert pull.head_sha == git(tmp_path / "work", "rev-parse", "HEAD")


def test_two_at_once_open_one_pull_request(github: FakeGitHub, alice: GitHub) -> None:
    def create(_: int) -> str | None:
        try:
            alice.create_pull(NAME, head="topic", base="main", title="Add two", body="")
        except AppError as error:
            return error.code
        return None

    with ThreadPoolExecutor(2) as threads:
        assert {*threads.map(create, range(2))} == {None, "pull_request_exists"}
    assert len(github.pulls(NAME)) == 1


def test_no_token_is_logged_at_any_level(
    github: FakeGitHub, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logging(Settings.model_validate({"log_level": "DEBUG"}), lambda text: text)
    try:
        access(github, TOKEN)
        with GitHub(github.api_url, "ghp_marked_unknown") as client, pytest.raises(AppError):
            client.user()
        assert not logging.getLogger("github.Requester").isEnabledFor(logging.DEBUG)
    finally:
        configure_logging(Settings.model_validate({}), lambda text: text)
    written = "".join(capfd.readouterr())
    assert "github_token_refused" in written
    assert "marked" not in written
