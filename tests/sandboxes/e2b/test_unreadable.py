"""A result that E2B's daemon cannot open costs seconds, not the time of an outage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fakes.e2b.control import E2BServerProcess
from tests.support.backends import Repository
from tests.support.e2b.tasks import LARGE_FILE, cloud_backend
from utils.sandboxes.e2b import sandbox


@pytest.mark.parametrize(
    "fault",
    [{"kind": "status", "status": 500}, {"kind": "delay", "seconds": 60}],
    ids=["a loop of links", "a FIFO"],
)
def test_a_result_that_cannot_be_opened_is_given_up_and_named(
    failing_cloud: E2BServerProcess,
    tmp_path: Path,
    small: Repository,
    monkeypatch: pytest.MonkeyPatch,
    fault: dict[str, Any],
) -> None:
    monkeypatch.setattr(sandbox, "UNREADABLE_SECONDS", 0.5)
    failing_cloud.add_fault(route="files.read", **fault)
    with cloud_backend(failing_cloud, tmp_path) as backend:
        task = backend.perform(f"script:\n{LARGE_FILE}", small)
    assert (task["status"], task["error_code"]) == ("failed", "sandbox_error")
    assert "the agent may have replaced it" in task["error"]
