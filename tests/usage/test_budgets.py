"""Budgets stop an agent that spends, keep its work, and refuse what would begin after that."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine

from tests.support.backends import USER, Backend, Open, Repository, Row
from tests.support.live_server import ServerFactory
from tests.support.waiting import eventually

SPENDER = (
    "script:\nwrite kept.txt kept\nusage 100 20 {first}\nprint within\nsleep 0.3\n"
    "usage 900 80 {second}\nsleep 600\nprint after"
)
local_only = pytest.mark.local_only("budgets do not depend on the sandbox")


def spend(backend: Backend, repository: Repository, usd: str, **body: Any) -> Row:
    """Run a task to its end that costs this much."""
    return backend.perform(f"script:\nwrite a.txt a\nusage 10 5 {usd}", repository, **body)


def refused(answer: Row) -> str:
    """Assert that a request was refused because of a budget; return the message."""
    assert (answer["http_status"], answer["code"]) == (402, "budget_exceeded"), answer
    return str(answer["error"])


def test_an_agent_is_stopped_within_one_event_of_passing_its_budget(
    open_with: Open, sample: Repository
) -> None:
    backend = open_with(budget_usd_per_task=1.0, sandbox_prices="e2b=0")
    row = backend.perform(SPENDER.format(first="0.999999", second="1.000001"), sample)
    assert (row["status"], row["error_code"]) == ("failed", "budget_exceeded")
    assert (row["error_stage"], row["changed_files"]) == ("agent", ["kept.txt"])
    assert "1.00 US dollars" in row["error"]
    assert "within" in backend.output(row["id"])
    events = backend.events(row["id"])
    kinds = [event["kind"] for event in events]
    spent = [event["data"].get("cost_usd") for event in events if event["kind"] == "usage"]
    assert spent == [0.999999, 1.000001]
    # What follows the event that passed the budget is the end.
    after = events[len(kinds) - kinds[::-1].index("usage") :]
    assert {event["kind"] for event in after} <= {"status", "git", "sandbox", "error"}
    [used] = backend.get("/usage?group_by=task")["usage"]
    assert (used["key"], used["model_micro_usd"]) == (str(row["id"]), 1_000_001)
    # The task has nothing left for a next turn; a new one has.
    path = f"/tasks/{row['id']}/chat"
    assert "Start a new task" in refused(backend.post(path, role="user", content="Go", run=True))
    assert spend(backend, sample, "0.5")["status"] == "completed"


@local_only
def test_an_agent_that_ends_above_its_budget_is_complete(
    open_with: Open, sample: Repository
) -> None:
    backend = open_with(budget_usd_per_task=1.0)
    script = "script:\nwrite a.txt a\nprint result: done\\nusage: 1 1 5"
    assert backend.perform(script, sample)["status"] == "completed"


@local_only
def test_a_spent_day_refuses_every_way_to_start_until_it_is_over(
    open_with: Open, sample: Repository
) -> None:
    backend = open_with(budget_usd_per_user_day=1.0, budget_usd_per_user_month=3.0)
    first = spend(backend, sample, "0.4")
    spend(backend, sample, "0.6")
    start = {"prompt": "script:\nprint more", "repo_url": sample.url}
    text = refused(backend.post("/start-task", **start, idempotency_key="again"))
    now = datetime.now(UTC)
    assert "of this day (1.00 US dollars)" in text
    refused(backend.post("/start-task", **start, attempts=2))
    chat = f"/tasks/{first['id']}/chat"
    refused(backend.post(chat, role="user", content="script:\nprint more", run=True))
    assert backend.post(chat, role="user", content="Only a note")["http_status"] == 200
    answer = backend.app.test_client().post("/start-task", json=start, headers={"X-User-ID": USER})
    assert 0 < int(answer.headers["Retry-After"]) <= 86_400
    [day, month] = backend.get("/usage")["budgets"]
    assert (day["period"], day["spent_micro_usd"], day["budget_micro_usd"]) == (
        "day", 1_000_000, 1_000_000,
    )  # fmt: skip
    assert (month["spent_micro_usd"], month["budget_micro_usd"]) == (1_000_000, 3_000_000)
    if now.day < 28:
        with time_machine.travel(now.replace(day=now.day + 1)):
            answer = backend.app.test_client().post(
                "/start-task", json=start, headers={"X-User-ID": USER}
            )
            assert answer.status_code == 200
    assert not [task for task in backend.get("/tasks")["tasks"].values() if task.get("group_id")]


@local_only
def test_a_project_has_a_budget_of_its_own(open_with: Open, sample: Repository) -> None:
    backend = open_with()
    body = {"name": "Small", "repo_url": "https://github.com/octo/small"}
    bad = backend.post("/projects", **body, settings={"budget_usd": "much"})
    assert (bad["http_status"], "budget_usd" in bad["error"]) == (400, True)
    project = backend.post("/projects", **body, settings={"budget_usd": 0.5})["project"]["id"]
    stopped = backend.perform(SPENDER.format(first="0.4", second="0.6"), sample, project_id=project)
    assert stopped["error_code"] == "budget_exceeded"
    assert "of the project for this month" in stopped["error"]
    start = {"prompt": "script:\nprint more", "repo_url": sample.url}
    refused(backend.post("/start-task", **start, project_id=project))
    assert backend.complete("script:\nprint more", sample)["id"] > stopped["id"]


@local_only
def test_a_task_that_waited_while_the_budget_was_spent_is_not_started(
    open_with: Open, sample: Repository
) -> None:
    backend = open_with(budget_usd_per_user_day=1.0, max_concurrent_tasks=1)
    first = backend.start("script:\nsleep 0.5\nusage 1 1 2", sample)
    second = backend.start("script:\nwrite never.txt x", sample)
    assert backend.wait(first)["error_code"] in {None, "budget_exceeded"}
    row = backend.wait(second)
    assert (row["status"], row["error_code"]) == ("failed", "budget_exceeded")
    assert "not started" in row["error"]
    assert not [event for event in backend.events(second) if event["kind"] == "sandbox"]


@pytest.mark.cloud_with_all("the rows are the same everywhere")
def test_a_restart_keeps_what_was_spent_so_far(
    new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server(BUDGET_USD_PER_TASK="1", SERVER_SILENCE_SECONDS="3600")
    server.start()
    client = server.client()
    script = "script:\nwrite kept.txt kept\nusage 100 20 0.6\nprint begun\nsleep 600"
    task_id = client.start(script, small_repository)

    def spent(by: str = "task") -> int:
        return int(client.get(f"/usage?group_by={by}").body["total"]["model_micro_usd"])

    eventually(lambda: spent() == 600_000)
    server.kill()
    server.start()
    client = server.client(client.user_id)
    if server.place.cloud:
        # The agent went on, and its output is read again: what it told counts once.
        eventually(lambda: client.status(task_id)["status"] == "running")
        eventually(lambda: spent() == 600_000)
        client.post(f"/tasks/{task_id}/cancel")
        client.wait_for(task_id)
        assert spent() == spent("day") == 600_000
        return
    # The task ran again from its beginning, and passed its budget with both attempts.
    row = client.wait_for(task_id)
    assert (row["status"], row["error_code"]) == ("failed", "budget_exceeded")
    assert spent() == spent("day") == 1_200_000
