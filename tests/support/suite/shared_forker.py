"""A pytest plugin that has the processes of a run share the one that forks programs.

To import everything takes each such process three seconds of processor time.
"""

from __future__ import annotations

import pytest

from tests.support.preloaded import share_forker


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Start it before the processes that run tests."""
    share_forker()
