"""Runs the tests that use the fixture `place`, themselves or through other fixtures, in each place.

A module or a test that makes sense in local sandboxes only says so with
`pytest.mark.local_only("why")`, one that needs the cloud with `pytest.mark.cloud_only("why")`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.e2b_control import E2BServerProcess
from tests.places import CloudPlace, LocalPlace, Place
from tests.supabase_stack import SupabaseStack

pytest_plugins = ("tests.supabase_fixtures",)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have a test run in every place, local sandboxes first."""
    if "place" in metafunc.fixturenames:
        places = ["local", "e2b"]
        if metafunc.definition.get_closest_marker("local_only"):
            places = ["local"]
        if metafunc.definition.get_closest_marker("cloud_only"):
            places = ["e2b"]
        metafunc.parametrize("place", places, indirect=True, scope="module")


@pytest.fixture(scope="session")
def cloud_process() -> Iterator[E2BServerProcess]:
    """The fake cloud of all tests that do not make it fail, in a process of its own."""
    with E2BServerProcess() as server:
        yield server


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Where the tasks of a test run."""
    if request.param == "local":
        yield LocalPlace()
        return
    cloud: E2BServerProcess = request.getfixturevalue("cloud_process")
    project: SupabaseStack = request.getfixturevalue("supabase_stack")
    project.clear()
    with pytest.MonkeyPatch.context() as patch:
        # Not the key, which would send every other backend of this process there.
        for name in cloud.environment.keys() - {"E2B_API_KEY"}:
            patch.setenv(name, cloud.environment[name])
        yield CloudPlace(cloud, project)
