"""Fixtures for tests that run whole tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.backends import Backend, Open, Repository, open_backend, shell_agent
from tests.exactness import make_sample
from tests.git_server import GitServer, serve_git
from tests.places import Place

pytest_plugins = ("tests.place_fixtures",)


@pytest.fixture(scope="module")
def backend(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """One backend for the tests of a module; its agent is the scripted one."""
    with open_backend(tmp_path_factory.mktemp("data"), place) as opened:
        yield opened


@pytest.fixture(scope="module")
def shell(backend: Backend) -> Iterator[Backend]:
    """The module's backend with the shell as its agent."""
    with shell_agent():
        yield backend


@pytest.fixture
def open_with(place: Place, tmp_path: Path) -> Iterator[Open]:
    """Opens backends with settings of their own; they end with the test."""
    with ExitStack() as stack:

        def open_one(**settings: Any) -> Backend:
            return stack.enter_context(open_backend(tmp_path / "data", place, **settings))

        yield open_one


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository with a file of every kind; not to be changed."""
    return make_sample(tmp_path_factory.mktemp("sample") / "repository")


@pytest.fixture(scope="module")
def git_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    """A git server for the tests of a module."""
    with serve_git(tmp_path_factory.mktemp("served")) as server:
        yield server
