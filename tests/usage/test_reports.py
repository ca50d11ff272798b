"""Reports of usage: exact sums for their user alone, whatever server has written them."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import psycopg
import pytest
from flask.testing import FlaskClient

from tests.conftest import Headers
from tests.support.backends import Backend, Repository
from tests.support.database.postgres_server import PostgresServer
from tests.support.live_server import SHARED, ServerFactory
from utils.config.settings import Settings
from utils.database.migrations import migrate

TASKS = 6


@pytest.mark.cloud_with_all("reports read rows")
def test_a_report_has_what_each_task_turn_and_clone_has_used(
    backend: Backend, sample: Repository
) -> None:
    first = backend.complete("script:\nwrite a.txt a\nusage 100 20 0.25", sample)
    again = {"role": "user", "content": "script:\nusage 10 2 0.05", "run": True}
    backend.post(f"/tasks/{first['id']}/chat", **again)
    backend.wait(first["id"])
    second = backend.complete("script:\nusage 1000 200 1", sample, model="codex")
    missing = backend.perform("script:\nprint never", "file:///nowhere/at-all")
    tasks = {row["key"]: row for row in backend.get("/usage?group_by=task")["usage"]}
    assert list(tasks) == [str(row["id"]) for row in (missing, second, first)]
    used = tasks[str(first["id"])]
    assert (used["model_micro_usd"], used["input_tokens"], used["output_tokens"]) == (
        300_000, 110, 22,
    )  # fmt: skip
    assert used["sandbox_milliseconds"] > 0
    assert tasks[str(missing["id"])]["failed_git_operations"] == 1
    agents = {row["key"]: row for row in backend.get("/usage?group_by=agent")["usage"]}
    assert agents["codex"]["model_micro_usd"] == 1_000_000
    assert agents["claude"]["tasks"] == 2
    backend.delete(f"/tasks/{first['id']}")
    report = backend.get("/usage")
    assert report["total"]["model_micro_usd"] == 1_300_000
    assert report["total"]["tasks"] == 3
    for name, amount in report["total"].items():
        assert amount == sum(row[name] for row in report["usage"]), name


@pytest.mark.local_only("what two servers share is the database")
def test_sums_of_days_equal_the_rows_when_two_servers_write_at_once(
    new_server: ServerFactory, postgres_server: PostgresServer, small_repository: str
) -> None:
    url = postgres_server.create("usage_of_two_servers")
    migrate(Settings.model_validate({"database_url": url}))
    pair = [new_server(DATABASE_URL=url, **SHARED) for _ in range(2)]
    for server in pair:
        server.start()
    user = str(uuid4())
    clients = [server.client(user) for server in pair]
    prompt = "script:\nusage {number} 1 0.00000{number}\nsleep 0.2"
    started = [
        (client, client.start(prompt.format(number=number), small_repository))
        for number in range(1, TASKS + 1)
        for client in clients
    ]
    for client, task_id in started:
        assert client.wait_for(task_id)["status"] == "completed"
    with psycopg.connect(url) as connection:
        rows: list[Any] = connection.execute(
            "SELECT day, sum(input_tokens), sum(sandbox_milliseconds), sum(model_micro_usd)"
            " FROM usage_records GROUP BY day ORDER BY day"
        ).fetchall()
    expected = 2 * sum(range(1, TASKS + 1))
    assert sum(tokens for _, tokens, _, _ in rows) == expected
    assert sum(micro_usd for _, _, _, micro_usd in rows) == expected
    for client in clients:
        report = client.get("/usage").body
        assert report["total"]["tasks"] == 2 * TASKS
        assert rows == [
            (one["key"], one["input_tokens"], one["sandbox_milliseconds"], one["model_micro_usd"])
            for one in report["usage"]
        ]


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("from=yesterday", "from"),
        ("to=2026-02-30", "to"),
        ("from=2026-11-30&to=2026-11-29", "from"),
        ("from=2024-01-01&to=2026-01-01", "366"),
        ("group_by=user", "group_by"),
        ("user_id=1", "unknown query parameter"),
    ],
)
def test_a_report_that_is_no_report_is_refused(
    client: FlaskClient, headers: Headers, query: str, word: str
) -> None:
    answer = client.get(f"/usage?{query}", headers=headers)
    assert answer.status_code == 400
    assert word in answer.get_json()["error"]


def test_usage_of_another_user_is_in_no_report(backend: Backend, sample: Repository) -> None:
    backend.complete("script:\nusage 100 20 0.25", sample)
    client = backend.app.test_client()
    for group in ("day", "project", "agent", "task"):
        answer = client.get(f"/usage?group_by={group}", headers={"X-User-ID": str(uuid4())})
        assert answer.get_json()["usage"] == []
        assert answer.get_json()["total"]["cost_micro_usd"] == 0
