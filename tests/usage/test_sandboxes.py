"""Sandboxes that users open by themselves count for their usage and their budgets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from database import Database
from tests.sandbox_service.api import Sandboxes
from tests.support.backends import Open, Repository
from tests.support.database.samples import USER
from tests.support.waiting import eventually
from tests.usage.records import LARGE, MIDNIGHT, by, record
from utils.models.sandboxes import LIVE_SANDBOXES, NewSandbox, SandboxStatus
from utils.models.usage import NO_TASK_ID, UsageSum
from utils.sandbox_service import leases

local_only = pytest.mark.local_only("usage does not depend on the sandbox")


@pytest.fixture(autouse=True)
def _counted_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "COUNT_SECONDS", 0.1)


@local_only
def test_a_sandbox_costs_its_running_time_and_ends_when_the_budget_of_its_user_is_spent(
    open_with: Open,
) -> None:
    # An hour costs so much that a second costs a dollar.
    backend = open_with(budget_usd_per_user_day=1.0, sandbox_prices="local=3600, isolated=3600")
    sandboxes = Sandboxes(backend.app)
    sandbox_id = sandboxes.create()
    eventually(lambda: sandboxes.row(sandbox_id)["status"] == "terminated")
    ended = sandboxes.row(sandbox_id)
    assert "budget of this day (1.00 US dollars)" in ended["error"]

    def used_milliseconds() -> int:
        [used] = backend.get("/usage?group_by=agent")["usage"]
        assert (used["key"], used["tasks"]) == ("sandbox", 0)
        return int(used["sandbox_milliseconds"])

    eventually(lambda: used_milliseconds() == round(ended["running_seconds"] * 1000))


@local_only
def test_no_sandbox_is_opened_or_resumed_while_a_budget_is_spent(
    open_with: Open, sample: Repository
) -> None:
    backend = open_with(budget_usd_per_user_day=1.0)
    sandboxes = Sandboxes(backend.app)
    paused = sandboxes.create()
    sandboxes.send("POST", f"/{paused}/pause")
    backend.perform("script:\nwrite a.txt a\nusage 10 5 1.5", sample)
    for path in ("", f"/{paused}/resume"):
        refused = sandboxes.send("POST", path, json={})
        assert (refused.status, refused.json["code"]) == (402, "budget_exceeded"), path
        assert int(refused.retry_after or 0) > 0


def test_what_a_sandbox_has_used_is_recorded_until_its_end(database: Database) -> None:
    added_one = database.add_sandbox(USER, NewSandbox("local", MIDNIGHT), 9)
    first = record(NO_TASK_ID, run=f"sandbox {added_one.id}", agent="sandbox")
    last = replace(first, usage=LARGE)
    assert [one.id for one in database.list_uncounted_sandboxes(9)] == [added_one.id]
    assert database.count_sandbox(added_one.id, first, is_final=False)
    assert [one.id for one in database.list_uncounted_sandboxes(9)] == [added_one.id]
    database.move_sandbox(added_one.id, LIVE_SANDBOXES, SandboxStatus.TERMINATED)
    assert database.count_sandbox(added_one.id, last, is_final=True)
    assert database.list_uncounted_sandboxes(9) == []
    assert database.sum_usage(USER, by("agent")) == [UsageSum("sandbox", 0, LARGE)]
    assert database.sum_usage(USER, by("task")) == [UsageSum(None, 0, LARGE)]
    assert not database.count_sandbox(added_one.id + 1, last, is_final=True)
