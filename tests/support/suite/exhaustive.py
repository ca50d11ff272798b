"""A pytest plugin that leaves the exhaustive tests out unless `--all` is given.

A test is exhaustive when it repeats, with more input or in the other place, what the tests of every
run check already: it takes time and finds no other kind of fault. `.ci/run` runs all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest
from hypothesis import settings


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the exhaustive tests as well")


def pytest_configure(config: pytest.Config) -> None:
    """Set the number of generated examples of the tests that do not set one themselves."""
    examples = 100 if config.getoption("--all") else 25
    # How long one example takes tells more about the machine than about the program.
    settings.register_profile("tests", deadline=None, max_examples=examples)
    settings.load_profile("tests")


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
    callspec = getattr(item, "callspec", None)
    if callspec is None or callspec.params.get("place") != "e2b":
        return False
    if item.get_closest_marker("cloud_with_all"):
        return True
    marker = item.get_closest_marker("cloud_sample")
    return marker is not None and callspec.params["case"] not in marker.args[0]


def sampled(cases: Iterable[str], sample: Collection[str], why: str) -> list[Any]:
    """Return the parameters for some cases; those that are not in the sample are exhaustive."""
    exhaustive = pytest.mark.exhaustive(why)
    return [case if case in sample else pytest.param(case, marks=exhaustive) for case in cases]
