"""Sandboxes of users are opened, paused, resumed, extended, lost and ended."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.sandbox_service.api import Sandboxes, existing
from tests.support.backends import Backend, Open, Repository, open_backend
from tests.support.places import Place
from tests.support.waiting import eventually
from utils.models.sandboxes import SandboxStatus


@pytest.fixture(scope="module")
def sandboxes(backend: Backend) -> Sandboxes:
    return Sandboxes(backend.app)


@pytest.mark.isolated_too("pauses and ends are its own")
def test_a_sandbox_is_paused_with_its_files_and_ended_with_all(sandboxes: Sandboxes) -> None:
    box = sandboxes.create(environment={"KEPT": "also"})
    sandboxes.output(box, "echo here >file; (sleep 300 >/dev/null 2>&1 &)")
    row = sandboxes.row(box)
    assert (row["status"], row["commands"], row["task_id"]) == ("running", 1, None)
    paused = sandboxes.send("POST", f"/{box}/pause").json["sandbox"]
    assert (paused["status"], paused["running_seconds"] > 0) == ("paused", True)
    assert sandboxes.execute(box, ["true"]).json["code"] == "sandbox_state"
    assert sandboxes.send("POST", f"/{box}/pause").status == 409
    resumed = sandboxes.send("POST", f"/{box}/resume").json["sandbox"]
    assert (resumed["status"], resumed["paused_at"]) == ("running", None)
    assert sandboxes.output(box, 'cat file; echo "$KEPT"') == "here\nalso\n"
    sandboxes.end(box)
    sandboxes.end(box)
    assert sandboxes.row(box)["status"] == "terminated"
    requests = (("POST", "pause"), ("POST", "resume"), ("GET", "files"), ("GET", "metrics"))
    for method, path in requests:
        reply = sandboxes.send(method, f"/{box}/{path}")
        assert (reply.status, reply.json["code"]) == (410, "sandbox_gone"), path
    listed = sandboxes.send("GET", f"/{box}/operations").json["operations"]
    done = [one["kind"] for one in reversed(listed) if one["error_code"] is None]
    assert done == ["execute", "pause", "resume", "execute", "destroy"]


def test_a_sandbox_ends_when_its_time_is_over_unless_it_is_extended(sandboxes: Sandboxes) -> None:
    box = sandboxes.create(timeout_seconds=300)
    before = datetime.fromisoformat(sandboxes.row(box)["expires_at"])
    extended = sandboxes.send("POST", f"/{box}/extend", json={"timeout_seconds": 3000}).json
    assert datetime.fromisoformat(extended["sandbox"]["expires_at"]) > before
    refused = sandboxes.send("POST", f"/{box}/extend", json={"timeout_seconds": 10**8})
    assert refused.status == 400
    sandboxes.send("POST", f"/{box}/extend", json={"timeout_seconds": 0.2})
    eventually(lambda: sandboxes.row(box)["status"] == "terminated")
    assert sandboxes.execute(box, ["true"]).status == 410


def test_a_user_has_so_many_sandboxes(open_with: Open) -> None:
    backend = open_with(max_sandboxes_per_user=1)
    own, other = (Sandboxes(backend.app, str(uuid4())) for _ in range(2))
    box = own.create()
    reply = own.send("POST", json={})
    assert (reply.status, reply.json["code"]) == (429, "sandbox_limit_reached")
    assert int(reply.retry_after or 0) > 0
    other.end(other.create())
    own.end(box)
    own.end(own.create())


@pytest.mark.isolated_too("what still starts its commands has to end as well")
def test_a_sandbox_that_is_gone_is_found_out(sandboxes: Sandboxes, backend: Backend) -> None:
    first, second = sandboxes.create(), sandboxes.create()
    for box in (first, second):
        name = sandboxes.row(box)["provider_id"]
        if backend.place.cloud:
            backend.place.cloud.crash(name)
        else:
            shutil.rmtree(backend.folder / "sandboxes" / name)
    assert sandboxes.row(first)["status"] == "terminated"
    reply = sandboxes.execute(second, ["true"])
    assert (reply.status, reply.json["code"]) == (410, "sandbox_gone")
    assert sandboxes.row(second)["status"] == "terminated"


def test_what_cannot_be_opened_leaves_no_sandbox(sandboxes: Sandboxes, backend: Backend) -> None:
    before = existing(backend)
    reply = sandboxes.send("POST", json={"repo_url": "https://127.0.0.1:1/octo/demo"})
    assert (reply.status, reply.json["code"]) == (409, "clone_failed"), reply
    assert existing(backend) == before
    [row] = sandboxes.send("GET", "?limit=1").json["sandboxes"]
    assert (row["status"], bool(row["error"])) == ("error", True)


def test_after_a_restart_only_sandboxes_that_survive_go_on(place: Place, tmp_path: Path) -> None:
    with open_backend(tmp_path, place) as backend:
        sandboxes = Sandboxes(backend.app)
        box, unknown = sandboxes.create(environment={"KEPT": "value"}), sandboxes.create()
        sandboxes.output(box, "echo here >file")
        name = sandboxes.row(box)["provider_id"]
        # As after a crash between the creation of a sandbox and the write of its name.
        database = backend.app.extensions["services"].database
        fields = {"provider_id": None}
        database.move_sandbox(unknown, {SandboxStatus.RUNNING}, SandboxStatus.CREATED, fields)
    with open_backend(tmp_path, place, sweep_grace_seconds=0) as backend:
        sandboxes = Sandboxes(backend.app)
        # A server that has the time ends its local sandboxes before it stops.
        assert sandboxes.row(unknown)["status"] == ("error" if place.cloud else "terminated")
        if place.cloud:
            eventually(lambda: existing(backend) == {name})
            assert sandboxes.output(box, 'cat file; echo "$KEPT"') == "here\nvalue\n"
            sandboxes.end(box)
        assert sandboxes.row(box)["status"] == "terminated"
        assert sandboxes.execute(box, ["true"]).status == 410
        assert existing(backend) == set()


def test_the_sandbox_of_a_task_is_shown_and_left_to_the_task(
    backend: Backend, sandboxes: Sandboxes, sample: Repository
) -> None:
    task_id = backend.start("script:\nsleep 60", sample)

    def found() -> Any:
        listed = sandboxes.send("GET", "?limit=20").json["sandboxes"]
        return next((one for one in listed if one["task_id"] == task_id), None)

    row = eventually(found)
    assert (row["status"], row["repositories"][0]["repo_url"]) == ("running", sample.url)
    for method, path in (("POST", "/pause"), ("DELETE", ""), ("GET", "/files")):
        reply = sandboxes.send(method, f"/{row['id']}{path}")
        assert (reply.status, reply.json["code"]) == (409, "sandbox_state")
    backend.post(f"/tasks/{task_id}/cancel")
    eventually(lambda: sandboxes.row(row["id"])["status"] == "terminated")
