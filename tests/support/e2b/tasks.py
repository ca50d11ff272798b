"""Runs backends whose tasks use the sandboxes of a fake cloud that may fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.e2b.control import API_KEY, E2BControl
from tests.support.backends import ENDED, Backend, Row, open_backend
from tests.support.waiting import eventually

STAND_INS = Path(__file__).parents[2] / "fakes" / "agents"
LARGE_FILE = f"write large.txt {'large ' * 12_000}"
"""A line for an agent whose result is too large to come along with the answer of its command."""
SCRIPTED = {"e2b_api_key": API_KEY, "e2b_smoke_test": True}


@contextmanager
def cloud_backend(cloud: E2BControl, folder: Path, **settings: Any) -> Iterator[Backend]:
    """Open a backend that uses the cloud, by default with the scripted agent."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cloud.environment.items():
            patch.setenv(name, value)
        with open_backend(folder, **{**SCRIPTED, **settings}) as backend:
            yield backend


def ended(backend: Backend, task_id: int) -> Row:
    """Wait until a task has ended; return its row."""
    eventually(lambda: backend.status(task_id)["status"] in ENDED)
    row: Row = backend.get(f"/tasks/{task_id}")["task"]
    return row


def wait_until_none_alive(cloud: E2BControl) -> dict[str, int]:
    """Wait until no sandbox is alive; return the counts of created and ended sandboxes."""
    eventually(lambda: not cloud.stats()["sandboxes"]["alive"])
    counts: dict[str, int] = cloud.stats()["sandboxes"]
    assert counts["created"] == counts["killed"] + counts["crashed"] + counts["expired"]
    return counts


def failure_of(task: Row) -> tuple[str, str, str]:
    """Return the status, the error code and the error stage of a task."""
    return task["status"], task["error_code"], task["error_stage"]
