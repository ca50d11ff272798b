"""A pytest plugin that lets the files that take longest begin first.

xdist gives each process one file after the other. One that takes two minutes and begins last would
keep one process at work while the others have nothing left to do. Its own order goes by the number
of tests, which tells little: the slowest files have few.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.support.source_files import ROOT

# By the seconds that they take, with and without --all.
LONGEST = (
    "tests/project/test_schemathesis.py",
    "tests/project/test_fuzz.py",
    "tests/project/test_benchmarks.py",
    "tests/pipeline/capture/test_changes.py",
    "tests/project/test_patterns.py",
    "tests/turns/test_restarts.py",
    "tests/project/test_demo.py",
    "tests/dispatcher/test_two_servers.py",
    "tests/sandboxes/e2b/test_faults.py",
    "tests/sandboxes/e2b/test_restart_cloud.py",
    "tests/pipeline/capture/test_generated.py",
    "tests/sandboxes/e2b/test_cancel.py",
    "tests/repositories/test_tasks.py",
    "tests/push/test_servers.py",
    "tests/pull_requests/test_create.py",
    "tests/dispatcher/test_cancel.py",
    "tests/sandboxes/test_mirrors.py",
    "tests/project/test_third_agent.py",
    "tests/web/test_connections.py",
    "tests/sandboxes/test_limits.py",
    "tests/maintenance/test_backup.py",
    "tests/repositories/test_kills.py",
    "tests/repositories/test_stops.py",
    "tests/server/test_full_disk.py",
    "tests/server/test_slow_clients.py",
    "tests/task_groups/test_compare.py",
    "tests/web/test_conversations.py",
    "tests/web/test_views.py",
    "tests/web/test_projects.py",
    "tests/web/test_settings.py",
    "tests/dispatcher/test_restart.py",
    "tests/sandboxes/e2b/test_requests.py",
    "tests/project/test_scale.py",
    "tests/turns/test_workspaces.py",
    "tests/sandboxes/e2b/test_restart_given_up.py",
    "tests/dispatcher/test_shutdown.py",
    "tests/pull_requests/test_secrecy.py",
    "tests/sandboxes/e2b/test_quota.py",
    "tests/project/test_readme.py",
    "tests/pipeline/test_deadlines.py",
    "tests/sandboxes/e2b/interruptions/test_clone.py",
    "tests/project/test_style.py",
    "tests/dispatcher/test_blocking.py",
    "tests/sandboxes/e2b/interruptions/test_lifetime.py",
    "tests/turns/test_waiting_turns.py",
)


def pytest_configure() -> None:
    """Refuse to run when a file of the list was moved."""
    missing = [name for name in LONGEST if not (ROOT / name).is_file()]
    if missing:
        message = f"longest_first.py names files that do not exist: {', '.join(missing)}"
        raise pytest.UsageError(message)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests: the longest files, then those with the most tests, then those in a browser.

    A process that has a browser open runs an event loop until its end, and no test of its own loop.
    """
    places = {ROOT / name: place for place, name in enumerate(LONGEST)}
    sizes = Counter(item.path for item in items)
    in_browser = {item.path for item in items if "browser" in getattr(item, "fixturenames", ())}

    def place(item: pytest.Item) -> tuple[bool, int, int, Path]:
        path = item.path
        return path in in_browser, places.get(path, len(places)), -sizes[path], path

    items.sort(key=place)
