"""Fixtures for tests in which the cloud fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backends import Repository
from tests.fakes.e2b_control import E2BServerProcess


@pytest.fixture
def failing_cloud() -> Iterator[E2BServerProcess]:
    """A cloud of a test's own, to fail as the test likes."""
    with E2BServerProcess() as cloud:
        yield cloud


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository with two files; not to be changed."""
    repository = Repository(tmp_path_factory.mktemp("small") / "repository")
    repository.commit("echo one >one.txt && mkdir folder && echo two >folder/two.txt", "Start")
    return repository
