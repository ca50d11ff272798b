"""Fixtures for tests that make pull requests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backends import Repository
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
