"""The end of each turn of a task that a comment started is told where it was asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import MakeApp
from tests.fakes.github.failures import LOST
from tests.fakes.github.service import FakeGitHub
from tests.support.backends import git
from tests.support.github.app import (
    BOT_USER,
    PAGE,
    STARTS_TASKS,
    Caller,
    WebhookSender,
    services_of,
)
from tests.support.github.comments import answers, comment, deliver_comment, started
from tests.support.github.names import NAME
from tests.support.github.servers import Servers
from tests.support.waiting import eventually
from utils.github.client import GitHub
from utils.models.tasks import TERMINAL_STATUSES, NewTask, Task
from utils.webhooks import end_comments, follower

Told = Callable[[Task], str]


@pytest.fixture
def telling(
    private_repository: None,
    make_app: MakeApp,
    github: FakeGitHub,
    hook: WebhookSender,
    monkeypatch: pytest.MonkeyPatch,
) -> WebhookSender:
    """Provide a sender to an application that looks for ended tasks all the time."""
    monkeypatch.setattr(follower, "PAUSE_SECONDS", 0.05)
    app = make_app(github_api_url=github.api_url, public_url=PAGE, **STARTS_TASKS)
    Caller(app, BOT_USER).project(github)
    return WebhookSender(app)


def start(hook: WebhookSender, prompt: str) -> Task:
    before = len(hook.tasks)
    deliver_comment(hook, comment(f"/async-code agent=scripted {prompt}"))
    return started(hook, before)


def comment_of(github: FakeGitHub, task: Task) -> str:
    """Return the comment about the end of a task, which is the only one beside the first."""
    eventually(lambda: len(answers(github)) > 1)
    first, end = answers(github)
    assert first.endswith(" is queued.")
    assert end.startswith(f"[Task {task.id}]({PAGE}/tasks/{task.id}) ")
    return end


def test_a_completed_task_is_told_with_link_and_summary(
    github: FakeGitHub, telling: WebhookSender
) -> None:
    task = start(telling, "Say hello")
    text = comment_of(github, task)
    assert " is completed and changed 1 file.\n\n```text\nCreated AI_GENERATED.md" in text


def test_a_failed_task_is_told_with_its_error(github: FakeGitHub, telling: WebhookSender) -> None:
    branches = git(github.repositories[NAME].bare, "branch", "--format=%(refname:short)").split()
    for branch in branches:
        git(github.repositories[NAME].bare, "branch", "-m", branch, f"{branch}-moved")
    task = start(telling, "Say hello")
    eventually(lambda: telling.tasks[0].status in TERMINAL_STATUSES)
    error = telling.tasks[0].error
    assert error
    assert comment_of(github, task).endswith(f" failed.\n\n```text\n{error}\n```")


def test_a_cancelled_task_is_told(github: FakeGitHub, telling: WebhookSender) -> None:
    dispatcher = services_of(telling.app).dispatcher
    dispatcher.pause()
    task = start(telling, "Say hello")
    dispatcher.cancel_task(BOT_USER, task.id)
    assert comment_of(github, task).endswith(" was cancelled.")


def test_other_tasks_are_told_nowhere(github: FakeGitHub, telling: WebhookSender) -> None:
    new = NewTask("Say hello", f"{github.url}/{NAME}", "main", "scripted")
    services_of(telling.app).dispatcher.start_task(BOT_USER, new, None)
    task = start(telling, "Say hello")
    comment_of(github, task)
    assert len(answers(github)) == 2


def follow_up(hook: WebhookSender, task: Task, prompt: str) -> None:
    """Send the next message to a task, as its owner, and wait for the end of its turn."""
    caller = Caller(hook.app, BOT_USER)
    body = {"role": "user", "content": prompt, "run": True}
    path = f"/tasks/{task.id}/chat"
    answer = caller.client.post(path, json=body, headers=caller.headers)
    assert answer.status_code == 200, answer.get_data()
    database = services_of(hook.app).database
    number = answer.get_json()["turn"]["number"]
    eventually(lambda: database.list_turns(BOT_USER, task.id)[number - 1].ended_at)


def wait_for_comments(github: FakeGitHub, count: int) -> list[str]:
    eventually(lambda: len(answers(github)) >= count)
    assert len(answers(github)) == count
    return answers(github)


def test_each_later_turn_gets_one_comment_also_when_an_answer_of_github_is_lost(
    github: FakeGitHub, telling: WebhookSender
) -> None:
    task = start(telling, "Say hello")
    comment_of(github, task)
    github.fail(LOST, on="POST .*/comments", times=1)
    follow_up(telling, task, "script:\nwrite second.txt 2\nfail 7")
    second = wait_for_comments(github, 3)[-1]
    link = f"({PAGE}/tasks/{task.id})"
    assert second.startswith(f"[Turn 2 of task {task.id}]{link} failed. Its changes until then")
    follow_up(telling, task, "script:\nwrite third.txt 3")
    third = wait_for_comments(github, 4)[-1]
    assert third.startswith(f"[Turn 3 of task {task.id}]{link} is completed and changed 1 file.")


def test_ends_are_told_once_by_the_server_after_a_restart(
    github: FakeGitHub, servers: Servers, alice: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice.create_issue(NAME, title="It breaks")
    with monkeypatch.context() as never:
        never.setattr(follower, "SCAN_SECONDS", 3600.0)
        hook = servers.start(works=True)
        task = start(hook, "Say hello")
        eventually(lambda: hook.tasks[0].status in TERMINAL_STATUSES)
        follow_up(hook, task, "Say more")
        # The server ends when it is about to write the second comment.
        services_of(hook.app).database.record_delivery(f"task-end-{task.id}-2-try-0")
        servers.stop()
    monkeypatch.setattr(end_comments, "CLAIM_SECONDS", 0.5)
    servers.start()
    _, first, second = wait_for_comments(github, 3)
    assert first.startswith(f"[Task {task.id}]")
    assert second.startswith(f"[Turn 2 of task {task.id}]")
    follower.TaskFollower(services_of(servers.start().app)).scan()
    wait_for_comments(github, 3)
