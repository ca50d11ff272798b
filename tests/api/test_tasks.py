"""The task endpoints: start, watch, chat, cancel and read."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import Headers, MakeApp
from utils.models.tasks import TERMINAL_STATUSES

Json = dict[str, Any]


class Caller:
    """A signed-in user of the HTTP API."""

    def __init__(self, client: FlaskClient, headers: Headers, repository: Path) -> None:
        self._client = client
        self._headers = headers
        self._repository = str(repository)

    def get(self, path: str, status: int = 200) -> Json:
        answer = self._client.get(path, headers=self._headers)
        assert answer.status_code == status, answer.get_json()
        return dict(answer.get_json())

    def delete(self, path: str, status: int = 200) -> Json:
        answer = self._client.delete(path, headers=self._headers)
        assert answer.status_code == status, answer.get_json()
        return dict(answer.get_json())

    def post(self, path: str, body: Any = None, status: int = 200) -> Json:
        answer = self._client.post(path, json=body, headers=self._headers)
        assert answer.status_code == status, answer.get_json()
        return dict(answer.get_json())

    def start(self, prompt: str = "Say hello", **fields: Any) -> int:
        body = {"prompt": prompt, "repo_url": self._repository, **fields}
        return int(self.post("/start-task", body)["task_id"])

    def finish(self, task_id: int) -> Json:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            task = self.get(f"/task-status/{task_id}")["task"]
            if task["status"] in TERMINAL_STATUSES:
                return dict(task)
            time.sleep(0.02)
        raise AssertionError(task)


@pytest.fixture
def caller(client: FlaskClient, headers: Headers, repository: Path) -> Caller:
    return Caller(client, headers, repository)


@pytest.fixture
def busy(make_app: MakeApp, user: str, repository: Path) -> Iterator[Caller]:
    """Provide a caller whose tasks stay queued, because the only slot is in use."""
    app = make_app(max_concurrent_tasks=1, max_queued_tasks=2, shutdown_grace_seconds=0)
    caller = Caller(app.test_client(), {"X-User-ID": user}, repository)
    task_id = caller.start("script:\nsleep 60")
    wait_until_running(caller, task_id)
    yield caller
    caller.post(f"/tasks/{task_id}/cancel")


def wait_until_running(caller: Caller, task_id: int) -> None:
    while caller.get(f"/task-status/{task_id}")["task"]["status"] != "running":
        time.sleep(0.01)


def test_a_task_runs_from_prompt_to_patch(caller: Caller, client: FlaskClient) -> None:
    task_id = caller.start("Add a greeting")
    assert isinstance(task_id, int)
    status = caller.finish(task_id)
    assert status["status"] == "completed"
    assert status["changed_files"] == ["AI_GENERATED.md"]
    task = caller.get(f"/tasks/{task_id}")["task"]
    assert task["prompt"] == "Add a greeting"
    assert (task["branch"], task["model"]) == (task["target_branch"], task["agent"])
    assert (task["branch"], task["model"]) == ("main", "claude")
    assert caller.get(f"/git-diff/{task_id}")["git_diff"] == task["git_diff"]
    assert "AI_GENERATED.md" in task["git_diff"]


def test_a_patch_is_downloaded_as_it_is_applied(
    caller: Caller, client: FlaskClient, headers: Headers, repository: Path, tmp_path: Path
) -> None:
    task_id = caller.start("script:\nwrite caf\\0303\\0251.txt h\\0303\\0251llo\\r\\n")
    assert caller.finish(task_id)["status"] == "completed"
    answer = client.get(f"/tasks/{task_id}/patch", headers=headers)
    assert answer.content_type == "text/plain; charset=utf-8"
    disposition = f'attachment; filename="task-{task_id}.patch"'
    assert answer.headers["Content-Disposition"] == disposition
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", repository, clone], check=True)
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
    subprocess.run(["git", *identity, "am", "-q"], cwd=clone, input=answer.data, check=True)
    assert (clone / "café.txt").read_bytes() == "héllo\r\n".encode()


def test_a_task_without_changes_has_no_patch(
    caller: Caller, client: FlaskClient, headers: Headers
) -> None:
    task_id = caller.start("script:\nprint nothing")
    caller.finish(task_id)
    answer = client.get(f"/tasks/{task_id}/patch", headers=headers)
    assert (answer.status_code, answer.get_json()["code"]) == (404, "no_patch")
    assert caller.get(f"/git-diff/{task_id}")["git_diff"] == ""


@pytest.mark.parametrize(
    "prompt",
    [
        "  spaces around \n",
        "tabs\tand\r\nline ends\r",
        "Zażółć 日本語 🦆 \u202e rtl \ufeff",
        "quotes ' \" ` $(id) ; --flag",
        "x" * 200_000,
    ],
)
def test_a_prompt_is_kept_character_by_character(caller: Caller, prompt: str) -> None:
    task_id = caller.start(prompt)
    assert caller.get(f"/tasks/{task_id}")["task"]["prompt"] == prompt
    assert caller.get(f"/task-status/{task_id}")["task"]["prompt"] == prompt


def test_polls_and_lists_stay_small_beside_a_long_conversation(
    caller: Caller, client: FlaskClient, headers: Headers, repository: Path
) -> None:
    body = {"name": "n", "repo_url": str(repository)}
    project = client.post("/projects", json=body, headers=headers).get_json()["project"]["id"]
    prompt = "Say hello " + "x" * 1_000
    task_id = caller.start(prompt, project_id=project)
    assert caller.finish(task_id)["chat_messages"][0]["content"] == prompt
    for _ in range(10):
        caller.post(f"/tasks/{task_id}/chat", {"role": "user", "content": "y" * 50_000})
    status = caller.get(f"/task-status/{task_id}")["task"]
    assert status["prompt"] == prompt
    assert len(json.dumps(status)) < 10_000
    assert "chat_messages" not in status
    assert "file_changes" not in status["execution_metadata"]
    (listed,) = caller.get(f"/projects/{project}/tasks")["tasks"]
    assert len(json.dumps(listed)) < 10_000
    assert [message["content"] for message in listed["chat_messages"]] == [f"{prompt[:200]}..."]
    full = caller.get(f"/tasks/{task_id}")["task"]
    assert len(full["chat_messages"]) >= 11
    assert full["execution_metadata"]["file_changes"][0]["filename"] == "AI_GENERATED.md"


@pytest.mark.parametrize(
    ("prompt", "last"),
    [
        ("Hi", {"status": "completed"}),
        ("script:\nfail 3", {"status": "failed", "error_code": "agent_failed"}),
    ],
)
def test_the_last_event_tells_how_a_task_ended(caller: Caller, prompt: str, last: Json) -> None:
    task_id = caller.start(prompt)
    caller.finish(task_id)
    *before, event = caller.get(f"/tasks/{task_id}/events")["events"]
    assert (event["kind"], event["data"]) == ("status", last)
    assert all("status" not in one["data"] for one in before)


def test_tasks_are_listed_by_what_they_are(caller: Caller, repository: Path) -> None:
    one = caller.start("Find me: 100%", model="codex")
    other = caller.start("script:\nfail 3")
    caller.finish(one), caller.finish(other)
    for query, found in (
        ("status=completed", [one]),
        ("status=failed&agent=claude", [other]),
        ("agent=codex", [one]),
        ("q=FIND+ME%3A+100%25", [one]),
        ("q=100_", []),
        (f"repo_url={repository}", [other, one]),
        ("status=pending", []),
    ):
        answer = caller.get(f"/tasks?{query}")
        assert [int(task_id) for task_id in answer["tasks"]] == found, query
        assert answer["total_tasks"] == len(found)


def test_identifiers_of_cloud_providers_are_accepted(make_app: MakeApp, repository: Path) -> None:
    model = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{'m' * 1_900}"
    app = make_app(claude_models=[model])
    caller = Caller(app.test_client(), {"X-User-ID": str(uuid4())}, repository)
    assert caller.finish(caller.start("Hi", agent_model=model))["status"] == "completed"


def test_a_branch_of_250_bytes_is_cloned(caller: Caller, repository: Path) -> None:
    branch = "\u00e9" * 125
    subprocess.run(["git", "branch", branch, "main"], cwd=repository, check=True)
    assert caller.finish(caller.start("Hi", branch=branch))["status"] == "completed"
    refused = caller.post(
        "/start-task", {"prompt": "Hi", "repo_url": str(repository), "branch": branch + "x"}, 400
    )
    assert refused["code"] == "invalid_branch"


@pytest.mark.parametrize("prompt", ["", " ", "\n\t", "a\0b", "x" * 200_001, None, 5, ["x"]])
def test_other_prompts_are_refused(caller: Caller, prompt: object) -> None:
    body = {"prompt": prompt, "repo_url": "https://github.com/o/n"}
    assert caller.post("/start-task", body, 400)["error"].startswith("prompt:")


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({"model": "gpt-9"}, "unknown_model", "claude, codex, scripted"),
        ({"model": ""}, "unknown_model", "claude, codex, scripted"),
        ({"branch": "a..b"}, "invalid_branch", "branch name"),
        ({"branch": ""}, "invalid_branch", "branch name"),
        ({"repo_url": "ext::sh -c id"}, "repository_not_allowed", "repository address"),
        ({"project_id": 0}, "invalid_request", "project_id:"),
        ({"project_id": "1"}, "invalid_request", "project_id:"),
        ({"project_id": True}, "invalid_request", "project_id:"),
        ({"project_id": 10**30}, "invalid_request", "project_id:"),
        ({"priority": 11}, "invalid_request", "priority:"),
        ({"priority": "urgent"}, "invalid_request", "priority:"),
        ({"priority": True}, "invalid_request", "priority:"),
        ({"github_token": "two words"}, "invalid_request", "github_token:"),
        ({"github_token": 5}, "invalid_request", "github_token:"),
    ],
)
def test_a_task_that_cannot_run_is_refused_at_once(
    caller: Caller, fields: Json, code: str, text: str
) -> None:
    body = {"prompt": "Hello", "repo_url": "https://github.com/o/n", **fields}
    answer = caller.post("/start-task", body, 400)
    assert answer["code"] == code
    assert text in answer["error"]


def test_optional_fields_may_be_null_or_an_empty_token(caller: Caller) -> None:
    task_id = caller.start(branch=None, model=None, project_id=None, github_token="")
    assert caller.get(f"/task-status/{task_id}")["task"]["model"] == "claude"


def test_a_status_has_no_null_and_grows_at_the_end(caller: Caller) -> None:
    task_id = caller.start("script:\nwrite a.txt a")
    seen = [caller.get(f"/task-status/{task_id}")["task"]]
    seen.append(caller.finish(task_id))
    for task in seen:
        assert None not in task.values()
        ended = task["status"] in TERMINAL_STATUSES
        assert ("execution_metadata" in task) == ("completed_at" in task) == ended
    assert "stage" not in seen[-1]
    assert len(seen[-1]["chat_messages"]) == 2


def test_waiting_tasks_know_their_place_and_one_too_many_is_refused(busy: Caller) -> None:
    first, second = busy.start(), busy.start()
    positions = [busy.get(f"/task-status/{task}")["task"] for task in (first, second)]
    assert [task["queue_position"] for task in positions] == [1, 2]
    assert [task["status"] for task in positions] == ["pending", "pending"]
    assert busy.post("/start-task", {"prompt": "x", "repo_url": "/srv/x"}, 429)["code"] == (
        "queue_full"
    )
    assert busy.post(f"/tasks/{first}/cancel")["task"]["status"] == "cancelled"
    assert busy.get(f"/task-status/{second}")["task"]["queue_position"] == 1
    busy.post(f"/tasks/{second}/cancel")


def test_a_task_is_cancelled_once(busy: Caller) -> None:
    task_id = busy.start()
    cancelled = busy.post(f"/tasks/{task_id}/cancel")["task"]
    assert (cancelled["status"], cancelled["error_code"]) == ("cancelled", "cancelled")
    assert busy.post(f"/tasks/{task_id}/cancel", status=409)["code"] == "task_already_ended"


def test_a_running_task_is_cancelled_and_keeps_its_work(caller: Caller) -> None:
    task_id = caller.start("script:\nwrite kept.txt kept\nsleep 60")
    wait_until_running(caller, task_id)
    time.sleep(0.3)
    assert caller.post(f"/tasks/{task_id}/cancel")["task"]["status"] == "cancelled"


def test_a_task_is_deleted_and_a_running_one_is_cancelled_first(caller: Caller) -> None:
    task_id = caller.start("script:\nsleep 60")
    wait_until_running(caller, task_id)
    assert caller.delete(f"/tasks/{task_id}")["message"] == "The task was deleted."
    for path in (f"/tasks/{task_id}", f"/tasks/{task_id}/events", f"/task-status/{task_id}"):
        assert caller.get(path, status=404)["code"] == "not_found"
    assert caller.delete(f"/tasks/{task_id}", status=404)["code"] == "not_found"


def test_messages_are_added_to_a_conversation(caller: Caller) -> None:
    task_id = caller.start("First")
    caller.finish(task_id)
    for role, content in (("user", "Why?"), ("assistant", "Because.\n")):
        task = caller.post(f"/tasks/{task_id}/chat", {"role": role, "content": content})["task"]
        assert task["chat_messages"][-1]["content"] == content
        assert task["chat_messages"][-1]["timestamp"].endswith("+00:00")
    assert task["prompt"] == "First"
    body = {"role": "system", "content": "x"}
    assert caller.post(f"/tasks/{task_id}/chat", body, 400)["error"].startswith("role:")


def test_events_are_followed_from_one_to_the_next(caller: Caller) -> None:
    task_id = caller.start("script:\nprint one\nprint two")
    caller.finish(task_id)
    everything = caller.get(f"/tasks/{task_id}/events")
    sequences = [event["sequence"] for event in everything["events"]]
    assert sequences == sorted(sequences)
    assert everything["next_after"] == sequences[-1]
    assert {"sequence", "at", "kind", "data"} == set(everything["events"][0])
    followed, after = [], 0
    while page := caller.get(f"/tasks/{task_id}/events?after={after}&limit=2")["events"]:
        followed += page
        after = page[-1]["sequence"]
    assert followed == everything["events"]
    rest = caller.get(f"/tasks/{task_id}/events?after={after}")
    assert rest == {"status": "success", "events": [], "next_after": after}


def test_the_list_is_an_object_with_short_prompts(caller: Caller) -> None:
    prompts = ["short", "y" * 50, "z" * 51, "w" * 201]
    ids = [caller.start(prompt) for prompt in prompts]
    answer = caller.get("/tasks")
    assert answer["total_tasks"] == 4
    assert [int(key) for key in answer["tasks"]] == sorted(ids, reverse=True)
    shown = [answer["tasks"][str(task_id)] for task_id in ids]
    assert [row["prompt"] for row in shown] == [
        "short",
        "y" * 50,
        "z" * 50 + "...",
        "w" * 50 + "...",
    ]
    contents = [row["chat_messages"][0]["content"] for row in shown]
    assert contents == ["short", "y" * 50, "z" * 51, "w" * 200 + "..."]
    assert all(len(row["chat_messages"]) == 1 for row in shown)


def test_the_list_comes_in_pages(caller: Caller) -> None:
    ids = [caller.start() for _ in range(5)]
    seen: list[int] = []
    path = "/tasks?limit=2"
    while True:
        page = caller.get(path)
        seen += [int(key) for key in page["tasks"]]
        assert page["total_tasks"] == 5
        if page["next_cursor"] is None:
            break
        path = f"/tasks?limit=2&cursor={page['next_cursor']}"
    assert seen == sorted(ids, reverse=True)


def test_times_name_their_zone(caller: Caller) -> None:
    task_id = caller.start()
    task = caller.finish(task_id)
    for key in ("created_at", "updated_at", "started_at", "completed_at"):
        assert task[key].endswith(("Z", "+00:00"))


def test_a_polled_status_is_not_logged_above_debug(
    app: Flask, caller: Caller, capsys: pytest.CaptureFixture[str]
) -> None:
    task_id = caller.start()
    caller.finish(task_id)
    capsys.readouterr()
    caller.get(f"/task-status/{task_id}")
    caller.get(f"/tasks/{task_id}/events")
    assert "http.request" not in capsys.readouterr().err
    caller.get("/tasks")
    assert "http.request" in capsys.readouterr().err
