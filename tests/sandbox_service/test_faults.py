"""A cloud that fails leaves no sandbox behind, and rows that agree with it."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fakes.e2b.control import E2BServerProcess
from tests.sandbox_service.api import Sandboxes
from tests.support.e2b.fault_run import add_faults
from tests.support.e2b.tasks import cloud_backend
from tests.support.waiting import eventually
from utils.models.sandboxes import LIVE_SANDBOXES

THREADS = 16
TRUTHFUL = {"sandbox_unavailable", "sandbox_gone", "sandbox_refused"}


def use_one(sandboxes: Sandboxes, number: int) -> list[str]:
    """Open a sandbox, run a command in it and end it; return what was answered."""
    opened = sandboxes.send("POST", json={})
    if opened.status != 201:
        return [f"create {opened.json['code']}"]
    box = opened.json["sandbox"]["id"]
    reply = sandboxes.execute(box, ["echo", str(number)])
    counts = reply.json.get("code") or f"printed {reply.json['stdout'] == f'{number}' + chr(10)}"
    ended = sandboxes.send("DELETE", f"/{box}")
    return ["create", f"execute {counts}", f"delete {ended.status}"]


@pytest.mark.timeout(600)
def test_no_sandbox_is_left_when_every_fifth_request_fails(
    failing_cloud: E2BServerProcess, tmp_path: Path, runs_all: bool
) -> None:
    count = 1_000 if runs_all else 60
    settings = {
        "max_sandboxes_per_user": count,
        "sweep_grace_seconds": 1,
        # Half of them may wait for commands; others would be refused.
        "http_threads": 2 * THREADS,
    }
    with cloud_backend(failing_cloud, tmp_path, **settings) as backend:
        sandboxes = Sandboxes(backend.app)
        add_faults(failing_cloud)
        with ThreadPoolExecutor(THREADS) as pool:
            answers = list(pool.map(lambda number: use_one(sandboxes, number), range(count)))
        failing_cloud.remove_faults()
        counts = Counter(word for words in answers for word in words)
        assert counts["create"] > count / 2, counts
        assert counts["execute printed True"] > count / 3, counts
        codes = {word.split(" ")[1] for word in counts if " " in word} - {"printed", "204"}
        assert codes <= TRUTHFUL, counts
        assert not counts["execute printed False"], counts
        # A sandbox whose end was lost is found by the sweep.
        eventually(lambda: not failing_cloud.stats()["sandboxes"]["alive"])
        database = backend.app.extensions["services"].database
        for one in database.list_live_sandboxes():
            assert sandboxes.row(one.id)["status"] not in LIVE_SANDBOXES
        assert database.list_live_sandboxes() == []
