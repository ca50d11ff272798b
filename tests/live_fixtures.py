"""Fixtures that run live servers and always stop them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live_server import LiveServer, ServerFactory
from tests.places import Place
from tests.repositories import make_repository

pytest_plugins = ("tests.place_fixtures",)


@pytest.fixture
def new_server(place: Place, tmp_path: Path) -> Iterator[ServerFactory]:
    """Give a function that makes servers; they are stopped whatever happens."""
    servers: list[LiveServer] = []

    def make(**settings: object) -> LiveServer:
        server = LiveServer(tmp_path / f"server-{len(servers)}", place, **settings)
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def server(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Give a server that runs four tasks at once; the tests of a file share it."""
    server = LiveServer(tmp_path_factory.mktemp("live") / "server", place)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def small_repository(tmp_path: Path) -> str:
    """Give the path of a repository with twenty files."""
    return str(make_repository(tmp_path / "repository"))
