"""Tests of the requests that start groups, and of what strangers get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.conftest import Headers, MakeApp, sign_in, wait_until_idle

SIX = {"agents": ["claude", "codex"], "attempts": 3}


@pytest.fixture
def body(repository: Path) -> dict[str, Any]:
    """Provide the body of a request that starts a task."""
    return {"prompt": "Say hello", "repo_url": str(repository)}


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        ({"agents": []}, "invalid_request", "agents"),
        ({"agents": ["claude", "clod"]}, "unknown_model", "agents: must be one of"),
        ({"agents": ["claude", "claude"]}, "invalid_request", "send attempts"),
        ({"agents": ["claude"], "model": "codex"}, "invalid_request", "agents or model"),
        ({**SIX, "agent_model": "x"}, "invalid_request", "agent_model"),
        ({"attempts": 0}, "invalid_request", "attempts"),
        ({"attempts": 7}, "group_too_large", "at most 6 are allowed (MAX_GROUP_SIZE"),
        ({"check_command": " "}, "invalid_request", "check_command"),
        ({"check_command": "a\0b"}, "invalid_request", "check_command"),
    ],
)
def test_a_group_that_cannot_be_started_is_refused(
    client: FlaskClient,
    headers: Headers,
    body: dict[str, Any],
    more: dict[str, Any],
    code: str,
    said: str,
) -> None:
    answer = client.post("/start-task", json=body | more, headers=headers)
    assert (answer.status_code, answer.get_json()["code"]) == (400, code)
    assert said in answer.get_json()["error"]
    assert client.get("/tasks", headers=headers).get_json()["total_tasks"] == 0
    assert client.get("/task-groups", headers=headers).get_json()["groups"] == []


def test_one_agent_with_one_attempt_is_a_task_like_any_other(
    client: FlaskClient, headers: Headers, body: dict[str, Any]
) -> None:
    answer = client.post(
        "/start-task", json={**body, "agents": ["codex"], "attempts": 1}, headers=headers
    ).get_json()
    assert sorted(answer) == ["message", "status", "task_id"]
    task = client.get(f"/tasks/{answer['task_id']}", headers=headers).get_json()["task"]
    assert (task["agent"], "group_id" in task) == ("codex", False)


def test_a_repeated_request_starts_one_group(
    client: FlaskClient, headers: Headers, body: dict[str, Any]
) -> None:
    request = {"json": body | SIX, "headers": {**headers, "Idempotency-Key": "six"}}
    first, again = (client.post("/start-task", **request) for _ in range(2))
    assert (again.status_code, again.get_json()) == (200, first.get_json())
    assert client.get("/tasks", headers=headers).get_json()["total_tasks"] == 6
    groups = client.get("/task-groups?limit=1", headers=headers).get_json()
    [group] = groups["groups"]
    assert (group["id"], group["task_count"]) == (first.get_json()["group_id"], 6)
    assert (group["prompt"], groups["next_cursor"]) == ("Say hello", None)
    listed = client.get("/tasks", headers=headers).get_json()["tasks"].values()
    assert {task["group_id"] for task in listed} == {group["id"]}


def test_all_tasks_of_a_group_count_in_the_queue(
    make_app: MakeApp, user: str, body: dict[str, Any]
) -> None:
    app = make_app(max_queued_per_user=5, max_concurrent_tasks=1, enable_scripted_prompts=True)
    client = app.test_client()
    headers = sign_in(client, user)

    def start(**more: Any) -> tuple[int, str | None]:
        request = {**body, "prompt": "script:\nsleep 300", **more}
        answer = client.post("/start-task", json=request, headers=headers)
        return answer.status_code, answer.get_json().get("code")

    assert start(**SIX) == (400, "group_too_large")
    assert start(attempts=5) == (200, None)
    assert start(attempts=3) == (429, "queue_full")
    assert client.get("/tasks", headers=headers).get_json()["total_tasks"] == 5
    [group] = client.get("/task-groups", headers=headers).get_json()["groups"]
    client.post(f"/task-groups/{group['id']}/cancel", headers=headers)
    assert start(attempts=3) == (200, None)
    for group in client.get("/task-groups", headers=headers).get_json()["groups"]:
        client.post(f"/task-groups/{group['id']}/cancel", headers=headers)
    wait_until_idle(app)
