"""A pytest plugin that leaves the exhaustive tests out unless `--all` is given.

A test is exhaustive when it repeats, with more input or in the other place, what the tests of every
run check already: it takes time and finds no other kind of fault. `.ci/run` runs all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the exhaustive tests as well")


@pytest.fixture(scope="session")
def runs_all(pytestconfig: pytest.Config) -> bool:
    """Provide True when the exhaustive tests run as well, for tests with generated input."""
    return bool(pytestconfig.getoption("--all"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the exhaustive tests."""
    if config.getoption("--all"):
        return
    exhaustive = [item for item in items if _is_exhaustive(item)]
    if exhaustive:
        config.hook.pytest_deselected(items=exhaustive)
        items[:] = [item for item in items if not _is_exhaustive(item)]


def _is_exhaustive(item: pytest.Item) -> bool:
    if item.get_closest_marker("exhaustive"):
        return True
    marker = item.get_closest_marker("cloud_sample")
    if marker is None or not isinstance(item, pytest.Function):
        return False
    parameters = item.callspec.params
    sample: Collection[str] = marker.args[0]
    return parameters["place"] == "e2b" and parameters["case"] not in sample


def sampled(cases: Iterable[str], sample: Collection[str], why: str) -> list[Any]:
    """Return the parameters for some cases; those that are not in the sample are exhaustive."""
    exhaustive = pytest.mark.exhaustive(why)
    return [case if case in sample else pytest.param(case, marks=exhaustive) for case in cases]
