"""Sandboxes at the provider and their rows agree, whatever ended or forgot them."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from e2b import AsyncSandbox

from tests.fakes.e2b.control import API_KEY, E2BControl
from tests.sandbox_service.api import Sandboxes
from tests.support.backends import Backend, open_backend
from tests.support.e2b.tasks import cloud_backend
from tests.support.places import Place
from tests.support.source_files import ROOT
from tests.support.waiting import PATIENCE_SECONDS, eventually
from utils.api.endpoint import Services
from utils.config.groups.identity import FILE_NAME
from utils.maintenance import cleanup
from utils.maintenance.cleanup import GONE, TOO_OLD, Cleanup
from utils.sandboxes.e2b.provider import APP
from utils.sandboxes.registry import open_provider


def clean_up(backend: Backend, step: str, **settings: Any) -> int:
    """Run one step of the clean-up as another process with these settings would."""
    services: Services = backend.app.extensions["services"]
    changed = services.settings.model_copy(update=settings)
    another = Cleanup(open_provider(changed), services.database, changed)
    count: int = anyio.run(getattr(another, step))
    return count


async def orphan(deployment: str) -> str:
    """Make a sandbox at the provider that a server has lost before it could store its row."""
    marks = {"app": APP, "deployment": deployment, "task_id": "12345"}
    return (await AsyncSandbox.create("async-code", metadata=marks)).sandbox_id


def test_the_rows_of_sandboxes_that_vanish_are_corrected_by_the_server(
    cloud: E2BControl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "CHECK_SECONDS", 0.1)
    with cloud_backend(cloud, tmp_path) as backend:
        sandboxes = Sandboxes(backend.app)
        gone, kept = sandboxes.create(), sandboxes.create()
        database = backend.app.extensions["services"].database
        [first, _] = database.list_live_sandboxes()
        cloud.crash(first.provider_id)
        eventually(lambda: len(database.list_live_sandboxes()) == 1)
        assert database.get_sandbox(first.user_id, gone).error == GONE
        assert sandboxes.row(gone)["status"] == "terminated"
        assert sandboxes.row(kept)["status"] == "running"
        sandboxes.end(kept)


def test_a_check_asks_the_provider_once_for_all_sandboxes(
    cloud: E2BControl, tmp_path: Path
) -> None:
    with cloud_backend(cloud, tmp_path) as backend:
        sandboxes = Sandboxes(backend.app)
        numbers = [sandboxes.create() for _ in range(3)]
        before = cloud.stats()["requests"]
        assert clean_up(backend, "check_existing") == 0
        after = cloud.stats()["requests"]
        assert {name: count - before.get(name, 0) for name, count in after.items()} != {}
        assert sum(after.values()) - sum(before.values()) == 1
        for number in numbers:
            sandboxes.end(number)


def test_the_command_ends_old_and_unknown_sandboxes_beside_a_server(
    cloud: E2BControl, tmp_path: Path
) -> None:
    with cloud_backend(cloud, tmp_path, sweep_grace_seconds=600) as backend:
        sandboxes = Sandboxes(backend.app)
        old = sandboxes.create()
        deployment = (tmp_path / FILE_NAME).read_text()
        anyio.run(orphan, deployment)
        foreign = anyio.run(orphan, "another deployment")
        database = backend.app.extensions["services"].database
        done = subprocess.run(
            [sys.executable, "-m", "utils.commands", "cleanup"],
            cwd=ROOT,
            env={
                "PATH": "/usr/bin:/bin",
                "DATA_DIR": str(tmp_path),
                "SANDBOX_MAX_AGE_SECONDS": "0.001",
                "SWEEP_GRACE_SECONDS": "0",
                "E2B_SMOKE_TEST": "true",
                **cloud.environment,
                "E2B_API_KEY": API_KEY,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        assert "1 sandboxes older than SANDBOX_MAX_AGE_SECONDS ended" in done.stdout
        assert "1 sandboxes that belong to nobody ended" in done.stdout
        assert [one["sandboxID"] for one in cloud.sandboxes()] == [foreign]
        assert sandboxes.row(old)["status"] == "terminated"
        user_id = "00000000-0000-4000-8000-00000000000a"
        assert database.get_sandbox(user_id, old).error == TOO_OLD


@pytest.mark.local_only("its rows are deleted alike wherever it ran")
def test_rows_of_ended_sandboxes_go_with_the_tasks_of_their_time(
    place: Place, tmp_path: Path
) -> None:
    with open_backend(tmp_path, place) as backend:
        sandboxes = Sandboxes(backend.app)
        number = sandboxes.create()
        sandboxes.end(number)
        assert clean_up(backend, "forget_old", retention_days=0) == 0
        assert clean_up(backend, "forget_old", retention_days=1) == 0
        services: Services = backend.app.extensions["services"]
        later = datetime.now(UTC) + timedelta(seconds=1)
        assert services.database.delete_old_sandboxes(later, limit=9) == 1
        assert sandboxes.send("GET", f"/{number}").status == 404


@pytest.mark.local_only("sandboxes of a cloud are ended above")
def test_a_local_sandbox_that_is_too_old_is_ended(place: Place, tmp_path: Path) -> None:
    with open_backend(tmp_path, place) as backend:
        sandboxes = Sandboxes(backend.app)
        number = sandboxes.create()
        services: Services = backend.app.extensions["services"]
        changed = services.settings.model_copy(update={"sandbox_max_age_seconds": 0.001})
        provider = backend.app.extensions["services"].dispatcher._provider
        old = Cleanup(provider, services.database, changed)
        bridge = services.dispatcher._bridge
        assert bridge.run(old.end_old) == 1
        assert sandboxes.row(number)["status"] == "terminated"
        assert list((tmp_path / "sandboxes").glob("sandbox-*")) == []
