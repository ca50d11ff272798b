"""Fixtures for tests that use E2B's SDK against the fake cloud."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.e2b_server import E2BServer

PROCESSES = Path("/proc/self/environ")


@pytest.fixture
def anyio_backend() -> str:
    """The SDK runs on asyncio only."""
    return "asyncio"


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[E2BServer]:
    """A fake cloud of its own for a test, where the SDK finds it by the environment."""
    if not PROCESSES.exists():
        pytest.skip("the fake cloud watches its processes through /proc")
    with E2BServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server
