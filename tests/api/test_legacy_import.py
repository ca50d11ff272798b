"""Import of the old backend's tasks."""

from __future__ import annotations

import io
import json
import time
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from flask.testing import FlaskClient

from database import Database
from tests.conftest import Headers, MakeApp
from tests.support.database.samples import USER
from utils.api import legacy_import
from utils.api.legacy_import import MAX_IMPORTS, MAX_TASKS, read_legacy_tasks
from utils.database.shared import MAX_CHAT_MESSAGES
from utils.errors import InvalidInput, RateLimited

Json = dict[str, Any]

OLD = {
    "id": 7,
    "status": "completed",
    "prompt": "Add tests",
    "repo_url": "https://ghp_hidden0123@github.com/o/n",
    "branch": "develop",
    "model": "codex",
    "created_at": 1_700_000_000.5,
    "completed_at": 1_700_000_100,
    "commit_hash": "0123456789",
    "git_diff": "diff --git a/x b/x\n",
    "git_patch": "From 0123\n",
    "changed_files": ["x"],
    "error": None,
    "container_id": "abc",
    "github_token": "ghp_hidden0123",
}


def upload(client: FlaskClient, headers: Headers, content: Any, status: int = 200) -> Json:
    answer = client.post("/api/migrate-legacy-tasks", json=content, headers=headers)
    assert answer.status_code == status, answer.get_json()
    return dict(answer.get_json())


def stored(client: FlaskClient, headers: Headers) -> list[Json]:
    ids = client.get("/tasks", headers=headers).get_json()["tasks"]
    return [client.get(f"/tasks/{i}", headers=headers).get_json()["task"] for i in ids][::-1]


@pytest.mark.parametrize(
    "content",
    [{"7": OLD}, [OLD], {"tasks": {"7": OLD}}, {"tasks": [OLD]}, {"7": {**OLD, "id": None}}],
)
def test_each_shape_of_export_is_read(client: FlaskClient, headers: Headers, content: Any) -> None:
    assert upload(client, headers, content)["migrated"] == 1
    assert upload(client, headers, content)["migrated"] == 0
    [task] = stored(client, headers)
    assert (task["status"], task["prompt"], task["model"]) == ("completed", "Add tests", "codex")
    assert (task["branch"], task["changed_files"], task["has_patch"]) == ("develop", ["x"], True)
    assert task["created_at"].startswith("2023-11-14T22:13:20.5")
    assert (task["commit_hash"], task["container_id"]) == ("0123456789", "abc")
    assert (task["git_diff"], task["git_patch"]) == (OLD["git_diff"], OLD["git_patch"])
    assert task["repo_url"] == "https://github.com/o/n"
    assert "ghp_hidden" not in json.dumps(task)


def test_a_file_is_uploaded_in_a_form(client: FlaskClient, headers: Headers) -> None:
    file = (io.BytesIO(json.dumps([OLD]).encode()), "tasks.json")
    answer = client.post("/migrate-legacy-tasks", data={"file": file}, headers=headers)
    assert answer.get_json()["migrated"] == 1


def test_keys_may_be_missing_or_strange(client: FlaskClient, headers: Headers) -> None:
    tasks = [
        {},
        {"prompt": "only this"},
        {"id": "x", "created_at": "2024-01-02T03:04:05", "model": ["?"], "changed_files": "x"},
        {"id": "y", "created_at": "0001-01-01T00:00:00+14:00", "status": 5, "chat_messages": [1]},
        {"id": "z", "created_at": 1e300, "prompt": "NUL \0 and \ud800", "status": "cancelled"},
        {"id": 1.5, "chat_messages": [{"role": "bot", "content": "hi"}, {"content": 5}]},
    ]
    assert upload(client, headers, tasks)["migrated"] == 6
    assert upload(client, headers, tasks)["migrated"] == 0
    rows = stored(client, headers)
    assert [row["status"] for row in rows] == ["failed"] * 4 + ["cancelled", "failed"]
    assert rows[2]["created_at"] == "2024-01-02T03:04:05Z"
    assert rows[4]["prompt"] == "NUL \ufffd and \ufffd"
    assert rows[5]["chat_messages"][0]["role"] == "assistant"


@pytest.mark.parametrize("status", ["pending", "running", None])
def test_a_task_that_had_not_ended_is_failed(
    client: FlaskClient, headers: Headers, status: str | None
) -> None:
    upload(client, headers, [{**OLD, "status": status, "completed_at": None}])
    [task] = stored(client, headers)
    assert (task["status"], task["error_code"]) == ("failed", "interrupted")
    assert "old backend" in task["error"]
    assert task["completed_at"] is not None


@pytest.mark.parametrize(
    "content", ["text", 5, None, [1], ["x"], {"error": "no"}, {"tasks": [None]}, {"7": [OLD]}]
)
def test_other_json_is_refused(client: FlaskClient, headers: Headers, content: Any) -> None:
    assert "task export" in upload(client, headers, content, 400)["error"]
    assert stored(client, headers) == []


def test_a_conversation_that_is_full_already_takes_no_more(
    client: FlaskClient, headers: Headers
) -> None:
    messages = [{"role": "user", "content": "Hello"}] * MAX_CHAT_MESSAGES
    upload(client, headers, [{**OLD, "chat_messages": messages}])
    [task] = stored(client, headers)
    message = {"role": "user", "content": "One more"}
    answer = client.post(f"/tasks/{task['id']}/chat", json=message, headers=headers)
    assert (answer.status_code, answer.get_json()["code"]) == (409, "conversation_full")


def test_an_import_of_too_many_tasks_is_refused_with_a_way_out(
    client: FlaskClient, headers: Headers
) -> None:
    copies = [{"id": number % MAX_TASKS} for number in range(MAX_TASKS + 1)]
    assert upload(client, headers, copies)["migrated"] == MAX_TASKS
    refused = upload(client, headers, [{"id": number} for number in range(MAX_TASKS + 1)], 400)
    assert refused["code"] == "too_many_tasks"
    assert "Split the file" in refused["error"]


SIZE = 2_000_000
HOSTILE: dict[str, Callable[[int], bytes]] = {
    "empty tasks": lambda size: b"[" + b"{}," * (size // 3) + b"{}]",
    "one task of lists": lambda size: b'[{"x": [' + b"[]," * (size // 3) + b"[]]}]",
    "files": lambda size: b'[{"changed_files": [' + b'"",' * (size // 3) + b'""]}]',
    "messages": lambda size: b'[{"chat_messages": [' + b'{"content":""},' * (size // 15) + b"{}]}]",
    "names": lambda size: b'[{"repo_url": "' + b"//@" * (size // 3) + b'"}]',
    "numbers": lambda size: b'[{"id": ' + b"1" * size + b"}]",
    "depth": lambda size: b"[" * size,
    "members": lambda size: b"{" + b",".join(b'"%d":{}' % n for n in range(size // 10)) + b"}",
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_import_costs_little(make: Callable[[int], bytes]) -> None:
    small, content = _cost(make(SIZE // 4)), make(SIZE)
    seconds = _cost(content)
    assert seconds < 12 * max(small, 0.1), "more than linear"
    tracemalloc.start()
    try:
        _cost(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * len(content)


def _cost(content: bytes) -> float:
    started = time.thread_time()
    with suppress(InvalidInput):
        assert len(read_legacy_tasks(content)) <= MAX_TASKS
    return time.thread_time() - started


def test_long_values_of_an_import_are_cut() -> None:
    task = {"repo_url": "https://github.com/o/" + "n" * 5_000, "error": "e" * 20_000}
    (row,) = read_legacy_tasks(json.dumps([task]).encode())
    assert len(row["repo_url"]) == 2_000
    assert len(row["error"]) == 10_000


def test_imports_that_run_at_the_same_time_are_limited() -> None:
    with ExitStack() as held:
        for _ in range(MAX_IMPORTS):
            held.enter_context(legacy_import.importing())
        with pytest.raises(RateLimited) as refused:
            read_legacy_tasks(b"[]")
    assert refused.value.retry_after_seconds
    assert read_legacy_tasks(b"[]") == []


def test_of_two_tasks_with_one_id_the_first_is_taken(client: FlaskClient, headers: Headers) -> None:
    answer = upload(client, headers, [OLD, {**OLD, "id": "7", "prompt": "Again"}])
    assert answer["message"] == "Imported 1 of 1 tasks."
    assert [task["prompt"] for task in stored(client, headers)] == ["Add tests"]


def test_what_cannot_be_stored_is_replaced_on_every_database(database: Database) -> None:
    texts = ("id", "prompt", "repo_url", "branch", "commit_hash", "git_diff", "git_patch", "error",
             "container_id")  # fmt: skip
    dirty = {**dict.fromkeys(texts, "a\0b\ud800"), "changed_files": ["\0"], "status": "failed"}
    content = json.dumps([dirty]).encode()
    assert database.import_tasks(USER, read_legacy_tasks(content)) == 1
    assert database.import_tasks(USER, read_legacy_tasks(content)) == 0
    (summary,) = database.list_tasks(USER).tasks
    task = database.get_task(USER, summary.id)
    kept = {task.repo_url, task.target_branch, task.commit_hash, task.git_diff, task.git_patch,
            task.error, task.container_id, task.chat_messages[0]["content"]}  # fmt: skip
    assert kept == {"a\ufffdb\ufffd"}
    assert task.changed_files == ["\ufffd"]


def test_an_empty_export_is_fine(client: FlaskClient, headers: Headers) -> None:
    exports: list[Any] = [[], {}, {"tasks": []}]
    for content in exports:
        assert upload(client, headers, content)["migrated"] == 0


def test_what_is_no_json_is_refused(client: FlaskClient, headers: Headers) -> None:
    for data in (b"", b"nonsense", b"\xff\xfe", b"[" * 100_000, b"9" * 10_000):
        answer = client.post("/migrate-legacy-tasks", data=data, headers=headers)
        assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid_json")
    other_name = {"other": (io.BytesIO(b"[]"), "tasks.json")}
    answer = client.post("/migrate-legacy-tasks", data=other_name, headers=headers)
    assert answer.status_code == 400


def test_an_import_has_a_limit_of_its_own(make_app: MakeApp, user: str) -> None:
    client = make_app(max_body_bytes=100, max_import_bytes=10_000).test_client()
    headers = {"X-User-ID": user}
    assert upload(client, headers, [OLD])["migrated"] == 1
    assert upload(client, headers, [OLD] * 50, 413)["code"] == "body_too_large"
    file = (io.BytesIO(b"[" + b" " * 20_000 + b"]"), "tasks.json")
    answer = client.post("/migrate-legacy-tasks", data={"file": file}, headers=headers)
    assert answer.status_code == 413


def test_imports_of_two_users_are_apart(
    client: FlaskClient, headers: Headers, stranger: Headers
) -> None:
    assert upload(client, headers, [OLD])["migrated"] == 1
    assert upload(client, stranger, [OLD])["migrated"] == 1
