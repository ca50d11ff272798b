"""Tests of how long a result is held in memory."""

from __future__ import annotations

import gc
from pathlib import Path

from tests.fakes.e2b.control import E2BServerProcess
from tests.support.backends import Repository
from tests.support.e2b.tasks import cloud_backend, ended, wait_until_none_alive
from tests.support.waiting import eventually
from utils.models.runs import Changes


def is_held(text: str) -> bool:
    return any(
        isinstance(found, Changes) and text in (found.diff or "") for found in gc.get_objects()
    )


def test_a_stored_result_is_freed_before_its_sandbox_has_ended(
    failing_cloud: E2BServerProcess, small: Repository, tmp_path: Path
) -> None:
    gc.disable()
    try:
        with cloud_backend(failing_cloud, tmp_path) as backend:
            number = failing_cloud.add_fault("status", route="kill", status=503)
            task_id = backend.start("script:\nwrite made.txt large\\n", small)
            eventually(lambda: failing_cloud.requests("kill"))
            assert "+large" in ended(backend, task_id)["git_diff"]
            assert not is_held("+large")
            failing_cloud.remove_faults(number)
            wait_until_none_alive(failing_cloud)
    finally:
        gc.enable()
