"""Fixtures for tests that make pull requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends import Repository
from tests.branch_pushes import open_to_partial_clones
from tests.fakes.github.server import serve_github
from tests.fakes.github.service import FakeGitHub
from tests.git_server import serve_git
from tests.github_names import LOGIN, NAME, TOKEN
from tests.places import Place
from tests.pull_requests import Hosted, Hub, open_hub

pytest_plugins = ("tests.place_fixtures",)


@pytest.fixture(scope="module")
def hub(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """One backend and one GitHub for the tests of a module."""
    with open_hub(tmp_path_factory.mktemp("hub"), place) as opened:
        yield opened


@pytest.fixture(scope="session")
def small_origin(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository with one commit."""
    made = Repository(tmp_path_factory.mktemp("small") / "origin")
    made.commit("echo one >one.txt; echo two >two.txt")
    return made


@pytest.fixture
def hosted(hub: Hub, small_origin: Repository) -> Iterator[Hosted]:
    """A repository on GitHub that a test may change."""
    yield hub.host(small_origin)
    hub.github.failing.clear()


@pytest.fixture
def served_github(tmp_path: Path, small_origin: Repository) -> Iterator[FakeGitHub]:
    """GitHub with one repository; its git wants the token."""
    with serve_git(tmp_path / "served") as git_server, serve_github() as opened:
        git_server.publish(small_origin, NAME.partition("/")[2], TOKEN)
        bare = git_server.bare(NAME.partition("/")[2])
        open_to_partial_clones(bare)
        opened.git_port = git_server.port
        opened.add_token(TOKEN, LOGIN)
        opened.add_repository(NAME, bare, roles={LOGIN: "write"})
        yield opened
