"""Tests that each time limit ends a task, names the limit and stores the changes so far."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.git.repositories import serve_repository
from tests.support.live_server import Json, LiveServer, ServerFactory

LIMITS_SECONDS = (1.5, 15.0)
"""The second one is for a machine so busy that nothing was done yet when the first was over."""

SLEEPS = "script:\nwrite made.txt half\\n\nbackground 300\nsleep 300"


def run(server: LiveServer, prompt: str, repo_url: str) -> Json:
    client = server.client()
    task_id = client.start(prompt, repo_url)
    client.wait_for(task_id, "failed")
    return client.task(task_id)


def outcome(task: Json) -> tuple[str, str, str]:
    return task["status"], task["error_code"], task["error_stage"]


def assert_nothing_runs(server: LiveServer) -> None:
    # The server waits for the sandboxes that it is closing after SIGTERM.
    assert server.terminate() == 0
    assert server.sandbox_processes() == []
    assert server.sandboxes() == []


@pytest.mark.parametrize(
    ("setting", "code"),
    [("AGENT_TIMEOUT_SECONDS", "agent_timeout"), ("SANDBOX_TIMEOUT_SECONDS", "sandbox_timeout")],
)
def test_an_agent_that_takes_too_long_is_ended_and_its_files_are_kept(
    new_server: ServerFactory, small_repository: str, setting: str, code: str
) -> None:
    for limit_seconds in LIMITS_SECONDS:
        server = new_server(**{setting: limit_seconds})
        server.start()
        task = run(server, SLEEPS, small_repository)
        if task["changed_files"]:
            break
    assert outcome(task) == ("failed", code, "agent")
    assert setting in task["error"]
    assert task["changed_files"] == ["made.txt"]
    assert "+half" in task["git_diff"]
    assert_nothing_runs(server)


@pytest.mark.parametrize(
    ("setting", "code"),
    [("CLONE_TIMEOUT_SECONDS", "clone_timeout"), ("SANDBOX_TIMEOUT_SECONDS", "sandbox_timeout")],
)
def test_a_clone_that_takes_too_long_is_ended(
    new_server: ServerFactory, small_repository: str, tmp_path: Path, setting: str, code: str
) -> None:
    server = new_server(**{setting: 1})
    server.start()
    with serve_repository(Path(small_repository), tmp_path / "served") as git_server:
        task = run(server, "Anything", git_server.url)
        assert outcome(task) == ("failed", code, "cloning")
        assert setting in task["error"]
        assert_nothing_runs(server)


@pytest.mark.cloud_with_all("the dispatcher decides it")
def test_the_next_task_runs_after_one_that_took_too_long(
    new_server: ServerFactory, small_repository: str
) -> None:
    for limit_seconds in LIMITS_SECONDS:
        server = new_server(MAX_CONCURRENT_TASKS=1, AGENT_TIMEOUT_SECONDS=limit_seconds)
        server.start()
        client = server.client()
        slow = client.start(SLEEPS, small_repository)
        quick = client.wait_for(client.start("Quick", small_repository))
        if quick["status"] == "completed":
            break
    assert quick["status"] == "completed"
    assert client.status(slow)["error_code"] == "agent_timeout"
