"""Fixtures for tests that run the real programs of the agents against a fake model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.models.server import Model, serve_model
from tests.real_agents.programs import INSTALL_SECONDS, install
from tests.real_agents.runs import Perform, make_launchers, perform
from tests.support.backends import Repository


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give the first test the time to install; each run of a program has its own limit."""
    item.add_marker(pytest.mark.timeout(INSTALL_SECONDS))


@pytest.fixture(scope="session")
def programs() -> Path:
    """Provide the folder of the real programs."""
    return install()


@pytest.fixture
def model() -> Iterator[Model]:
    """Provide a fake model for one test."""
    with serve_model() as served:
        yield served


@pytest.fixture
def launchers(tmp_path: Path, programs: Path, model: Model) -> Path:
    """Provide a folder for PATH with the programs, which use the fake model."""
    return make_launchers(tmp_path / "launchers", programs, model.url)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Provide a repository with one commit."""
    repository = Repository(tmp_path / "repository")
    repository.commit("echo '# Demo' >README.md")
    return repository


@pytest.fixture
def run(launchers: Path, tmp_path: Path, repository: Repository) -> Perform:
    """Provide a function that runs a program in the repository, without a server."""
    folder = repository.folder
    return lambda agent, prompt, *more, model=None: perform(
        agent, prompt, *more, launchers=launchers, home=tmp_path, folder=folder, model=model
    )
