"""A pytest plugin that leaves the exhaustive tests out unless `--all` is given.

A test is exhaustive when it repeats, with more input or in the other place, what the tests of every
run check already: it takes time and finds no other kind of fault. `.ci/run` runs all of them with
EXHAUSTIVE=true.

`pytest.mark.with_all("why", name=value)` makes the cases exhaustive that have these parameters.

A test of many cases has a sample of them in the cloud. The other cases run in local sandboxes only:
what differs between them happens in a script that is the same in every sandbox.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
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
    """Deselect the cases that are not in the cloud's sample, and the exhaustive tests."""
    runs_all = config.getoption("--all")
    chosen = [
        item for item in items if _is_sampled(item) and (runs_all or not _is_exhaustive(item))
    ]
    if deselected := set(items) - set(chosen):
        config.hook.pytest_deselected(items=list(deselected))
        items[:] = chosen


def _is_sampled(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("cloud_sample")
    if marker is None or _parameters(item).get("place") != "e2b":
        return True
    return _parameters(item)["case"] in marker.args[0]


def _is_exhaustive(item: pytest.Item) -> bool:
    if item.get_closest_marker("exhaustive"):
        return True
    if any(_matches(item, marker) for marker in item.iter_markers("with_all")):
        return True
    is_in_cloud = _parameters(item).get("place") == "e2b"
    return is_in_cloud and item.get_closest_marker("cloud_with_all") is not None


def _matches(item: pytest.Item, marker: pytest.Mark) -> bool:
    return marker.kwargs.items() <= _parameters(item).items()


def _parameters(item: pytest.Item) -> Mapping[str, Any]:
    callspec = getattr(item, "callspec", None)
    return callspec.params if callspec else {}


def sampled(cases: Iterable[str], sample: Collection[str], why: str) -> list[Any]:
    """Return the parameters for some cases; those that are not in the sample are exhaustive."""
    exhaustive = pytest.mark.exhaustive(why)
    return [case if case in sample else pytest.param(case, marks=exhaustive) for case in cases]
