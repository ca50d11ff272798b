"""A backend whose tasks run in the sandboxes of a fake cloud, for when that cloud fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.e2b.control import API_KEY, E2BControl
from tests.support.backends import ENDED, Backend, Row, open_backend, wait_for

STAND_INS = Path(__file__).parents[1] / "fakes" / "agents"
SCRIPTED = {"e2b_api_key": API_KEY, "e2b_smoke_test": True}


@contextmanager
def cloud_backend(cloud: E2BControl, folder: Path, **settings: Any) -> Iterator[Backend]:
    """Open a backend that uses the cloud; the scripted agent works in it unless told otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cloud.environment.items():
            patch.setenv(name, value)
        with open_backend(folder, **{**SCRIPTED, **settings}) as backend:
            yield backend


def ended(backend: Backend, task_id: int) -> Row:
    """Wait for the end of a task; return its row."""
    wait_for(lambda: backend.status(task_id)["status"] in ENDED)
    row: Row = backend.get(f"/tasks/{task_id}")["task"]
    return row


def wait_until_none_alive(cloud: E2BControl) -> dict[str, int]:
    """Wait until no sandbox is left; return how many were made and how they ended."""
    wait_for(lambda: not cloud.stats()["sandboxes"]["alive"])
    counts: dict[str, int] = cloud.stats()["sandboxes"]
    assert counts["created"] == counts["killed"] + counts["crashed"] + counts["expired"]
    return counts


def failure_of(task: Row) -> tuple[str, str, str]:
    """Return how a task ended, with which code and at which stage."""
    return task["status"], task["error_code"], task["error_stage"]
