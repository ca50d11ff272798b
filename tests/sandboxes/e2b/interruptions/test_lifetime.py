"""A plan's longest life of a sandbox is told, begun anew by a pause, or ends the task in time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.e2b.control import E2BServerProcess
from tests.support.backends import Backend, Repository
from tests.support.e2b.tasks import cloud_backend, ended, wait_until_none_alive
from utils.sandboxes.e2b import lease

LIFE_SECONDS = 6
LONGER_LIFE_SECONDS = 16
"""A life whose last part, `LONGER_RESERVE_SHARE`, is enough for a capture on a busy machine."""
LONGER_RESERVE_SHARE = 0.625

LINES = 80
PROMPT = "script:\nwrite early.txt early\n" + "".join(
    f"print line {number}\nsleep 0.1\n" for number in range(LINES)
)


@contextmanager
def small_plan(
    cloud: E2BServerProcess,
    folder: Path,
    patch: pytest.MonkeyPatch,
    life_seconds: int = LIFE_SECONDS,
    **settings: Any,
) -> Iterator[Backend]:
    """Open a backend whose tasks may take longer than the plan lets a sandbox live."""
    patch.setattr(lease, "LONGEST_LEASE_SECONDS", life_seconds // 2)
    cloud.configure(max_timeout_seconds=life_seconds, **settings)
    with cloud_backend(cloud, folder) as backend:
        yield backend


def test_a_sandbox_is_paused_and_resumed_before_its_plan_ends_it(
    failing_cloud: E2BServerProcess,
    tmp_path: Path,
    small: Repository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with small_plan(failing_cloud, tmp_path, monkeypatch) as backend:
        task = ended(backend, backend.start(f"{PROMPT}write late.txt late", small))
        assert task["status"] == "completed", task["error"]
        assert task["changed_files"] == ["early.txt", "late.txt"]
        output = "".join(f"line {number}\n" for number in range(LINES))
        assert backend.output(task["id"]).endswith(output)
        events = backend.events(task["id"])
        counts = wait_until_none_alive(failing_cloud)
    warnings = [
        one["data"]["text"] for one in events if "text" in one["data"] and one["kind"] == "status"
    ]
    assert len(warnings) == 1
    assert f"lets a sandbox run for {LIFE_SECONDS} s" in warnings[0]
    assert failing_cloud.requests("pause")
    assert (counts["created"], counts["expired"], counts["killed"]) == (1, 0, 1)


@pytest.mark.parametrize("how", ["refused", "without effect"])
def test_a_task_whose_sandbox_cannot_live_longer_ends_in_time_with_its_partial_result(
    failing_cloud: E2BServerProcess,
    tmp_path: Path,
    small: Repository,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    if how == "refused":
        failing_cloud.add_fault("status", route="pause", status=400, message="No pause for you")
    renews = how == "refused"
    monkeypatch.setattr(lease, "RESERVE_SHARE", LONGER_RESERVE_SHARE)
    plan = small_plan(
        failing_cloud, tmp_path, monkeypatch, LONGER_LIFE_SECONDS, pause_renews=renews
    )
    with plan as backend:
        task = ended(backend, backend.start(f"{PROMPT}write late.txt late", small))
        counts = wait_until_none_alive(failing_cloud)
    assert (task["status"], task["error_code"]) == ("failed", "sandbox_timeout")
    assert task["error_stage"] == "agent"
    assert "plan" in task["error"]
    assert task["changed_files"] == ["early.txt"]
    assert (counts["expired"], counts["killed"]) == (0, 1)


def test_a_sandbox_that_lives_long_enough_is_neither_asked_nor_paused(
    failing_cloud: E2BServerProcess, tmp_path: Path, small: Repository
) -> None:
    with cloud_backend(failing_cloud, tmp_path) as backend:
        task = backend.complete("script:\nwrite a.txt a", small)
        assert all(
            one["kind"] != "status" or "text" not in one["data"]
            for one in backend.events(task["id"])
        )
    assert not failing_cloud.requests("pause")
    assert not failing_cloud.requests("set_timeout")
    body = json.loads(failing_cloud.requests("create")[0]["body"])
    assert body["autoPause"] is False
