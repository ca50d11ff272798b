"""Fixtures for tests that push the result of a task."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.backends import Repository, Row
from tests.branch_pushes import Target, bare_copy, result_of
from tests.git_server import GitServer

pytest_plugins = ("tests.task_fixtures",)


@pytest.fixture(scope="session")
def push_origin(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """What tasks start from; a module may have its own."""
    origin = Repository(tmp_path_factory.mktemp("push") / "origin")
    origin.commit("mkdir a b; for f in one two four five; do echo $f >a/$f; done; echo >b/x")
    origin.commit("mkdir c; for f in 1 2 3 4 5 6 7 8 9; do echo $f >c/$f; done", "More")
    return origin


@pytest.fixture(scope="session")
def push_result(push_origin: Repository) -> Row:
    """What is stored of a task that changed something of every kind."""
    edited = "echo more >>a/one; git mv a/two b/three; chmod +x a/four"
    return result_of(push_origin, f"{edited}; printf '\\0' >a/bin; rm a/five")


@pytest.fixture
def push_target(
    git_server: GitServer, push_origin: Repository, push_result: Row, tmp_path: Path
) -> Target:
    """A copy of the origin on the server that no other test knows."""
    return Target(git_server, push_origin, push_result, tmp_path)


@pytest.fixture
def push_bare(push_origin: Repository, tmp_path: Path) -> Path:
    """A copy of the origin on this machine that no other test knows."""
    return bare_copy(push_origin, tmp_path / "bare")
