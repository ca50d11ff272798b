"""The fake GitHub, with one repository that has a branch to ask for a pull request for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.backends import Repository, git
from tests.fakes.github.server import serve_github
from tests.fakes.github.service import FakeGitHub
from tests.github_names import LOGIN, NAME, TOKEN
from utils.github import GitHub

_names = count(1)


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository with `main`, and `topic` one commit ahead of it."""
    made = Repository(tmp_path_factory.mktemp("github") / "origin")
    made.commit("echo one > one.txt")
    made.run("git checkout --quiet -b topic")
    made.commit("echo two > two.txt", "Add two")
    made.run("git checkout --quiet main")
    return made


@pytest.fixture(scope="session")
def github_server() -> Iterator[FakeGitHub]:
    """The server; `github` is what a test starts from."""
    with serve_github() as served:
        yield served


@pytest.fixture
def bare(origin: Repository, tmp_path: Path) -> Path:
    """A bare copy that a test may change."""
    folder = tmp_path / f"{next(_names)}.git"
    git(origin.folder, "clone", "--quiet", "--mirror", ".", str(folder))
    return folder


@pytest.fixture
def github(github_server: FakeGitHub, bare: Path) -> FakeGitHub:
    """GitHub with one repository and one user, who may write to it."""
    served = github_server
    for kept in (served.tokens, served.apps, served.repositories, served.moved, served.failing):
        kept.clear()
    served.requests.clear()
    served.page_size = served.moved_to_api = None
    served.git_port = None
    served.add_repository(NAME, bare, roles={LOGIN: "write", "bob": "read", "carol": "admin"})
    served.add_token(TOKEN, LOGIN)
    return served


@pytest.fixture
def alice(github: FakeGitHub) -> Iterator[GitHub]:
    """That user's GitHub, as the server's own code speaks to it."""
    with GitHub(github.api_url, TOKEN) as made:
        yield made
