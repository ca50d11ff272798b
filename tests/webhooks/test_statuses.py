"""A commit status shows on GitHub that a task of a pull request runs, and how it has ended."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.github.refs import branch_sha
from tests.fakes.github.service import FakeGitHub
from tests.support.github.app import BOT_USER, PAGE, WebhookSender, services_of
from tests.support.github.comments import comment, deliver_comment, started
from tests.support.github.names import NAME
from tests.support.github.servers import Servers
from tests.support.waiting import eventually
from utils.github.client import GitHub
from utils.models.tasks import NewTask, Task
from utils.webhooks.follower import TaskFollower


class Comments:
    """Comments on a pull request whose branch is `topic`, and reads the statuses of its commit."""

    def __init__(self, github: FakeGitHub, alice: GitHub) -> None:
        self.pull = alice.create_pull(NAME, head="topic", base="main", title="Add", body="").number
        self.repository = github.repositories[NAME]
        self.commit = str(branch_sha(self.repository.bare, "topic"))

    def start(self, hook: WebhookSender, prompt: str = "Say hello") -> Task:
        before = len(hook.tasks)
        text = f"/async-code agent=scripted {prompt}"
        deliver_comment(hook, comment(text, number=self.pull, pull=True))
        return started(hook, before)

    def wait_for(self, *states: str) -> list[dict[str, Any]]:
        """Wait until these states were set, in this order; return the statuses."""
        eventually(lambda: len(self.set) >= len(states))
        assert [one["state"] for one in self.set] == list(states)
        return self.set

    @property
    def set(self) -> list[dict[str, Any]]:
        return list(self.repository.statuses.get(self.commit, ()))


@pytest.fixture
def comments(github: FakeGitHub, alice: GitHub) -> Comments:
    """Provide a pull request to comment on."""
    return Comments(github, alice)


def test_a_status_is_pending_while_the_task_runs_and_tells_its_end_after_a_restart(
    github: FakeGitHub, servers: Servers, comments: Comments
) -> None:
    hook = servers.start()
    task = comments.start(hook)
    (pending,) = comments.wait_for("pending")
    assert pending == {
        "state": "pending",
        "context": f"async-code/task-{task.id}",
        "description": f"Task {task.id} is at work.",
        "target_url": f"{PAGE}/tasks/{task.id}",
    }
    servers.start(works=True)
    eventually(lambda: comments.set[-1]["state"] != "pending")
    end = comments.set[-1]
    assert end == pending | {
        "state": "success",
        "description": f"Task {task.id} is completed; changed files: 1.",
    }
    count = len(comments.set)
    servers.start()
    follow_all(servers)
    assert len(comments.set) == count


def follow_all(servers: Servers) -> None:
    """Look once more at all tasks, as a server does that was just started."""
    assert servers.app is not None
    services = services_of(servers.app)
    TaskFollower(services).scan()


def test_a_cancelled_task_and_a_failed_one_are_told_in_words(
    github: FakeGitHub, servers: Servers, comments: Comments
) -> None:
    hook = servers.start()
    cancelled = comments.start(hook)
    comments.wait_for("pending")
    services_of(hook.app).dispatcher.cancel_task(BOT_USER, cancelled.id)
    end = comments.wait_for("pending", "error")[-1]
    assert end["description"] == f"Task {cancelled.id} was cancelled."
    failed = comments.start(servers.start(works=True), "script:\nfail 7")
    eventually(lambda: comments.set[-1]["state"] == "failure")
    assert comments.set[-1]["description"].startswith(f"Task {failed.id} failed: ")


def test_without_a_public_address_the_status_has_no_link(
    servers: Servers, comments: Comments
) -> None:
    comments.start(servers.start(public_url=None))
    (pending,) = comments.wait_for("pending")
    assert "target_url" not in pending


@pytest.mark.parametrize("refusal", ["unavailable", "blocked"])
def test_a_task_ends_well_while_github_refuses_its_status(
    github: FakeGitHub, servers: Servers, comments: Comments, refusal: str
) -> None:
    github.fail(refusal, on="/statuses/")
    hook = servers.start(works=True)
    comments.start(hook)
    eventually(lambda: hook.tasks[0].status == "completed")
    eventually(lambda: any("/statuses/" in path for path in github.paths()))
    assert comments.set == []
    if refusal == "unavailable":
        github.failing.clear()
        eventually(lambda: comments.set and comments.set[-1]["state"] == "success")


def test_a_task_whose_pull_request_is_open_is_shown_when_it_runs_again(
    github: FakeGitHub, servers: Servers, comments: Comments
) -> None:
    hook = servers.start()
    services = services_of(hook.app)
    new = NewTask("Say hello", f"{github.url}/{NAME}", "topic", "scripted")
    opened = {"pr_commit": comments.commit, "pr_state": "open", "pr_number": comments.pull}
    ended = services.dispatcher.start_task(BOT_USER, new, None)
    services.dispatcher.cancel_task(BOT_USER, ended.id)
    again = services.dispatcher.start_task(BOT_USER, new, None)
    # Tells that the server has looked at the tasks before, whose pull request is not yet recorded.
    asked = comments.start(hook)
    comments.wait_for("pending")
    for task in (ended, again):
        services.database.set_pull_request(BOT_USER, task.id, opened)
    pending = comments.wait_for("pending", "pending")[-1]
    assert pending["context"] == f"async-code/task-{again.id}"
    services.dispatcher.cancel_task(BOT_USER, again.id)
    comments.wait_for("pending", "pending", "error")
    services.dispatcher.cancel_task(BOT_USER, asked.id)
    comments.wait_for("pending", "pending", "error", "error")
    # A status is recorded when it is set, which the end of the server waits for.
    services_of(servers.start().app).dispatcher.start_task(BOT_USER, new, None)
    follow_all(servers)
    comments.wait_for("pending", "pending", "error", "error")


def test_no_status_is_set_outside_of_the_projects_of_the_user(
    servers: Servers, comments: Comments
) -> None:
    hook = servers.start()
    task = comments.start(hook)
    comments.wait_for("pending")
    database = services_of(hook.app).database
    (project,) = database.list_projects(BOT_USER)
    database.update_project(BOT_USER, project.id, {"is_active": False})
    services_of(hook.app).dispatcher.cancel_task(BOT_USER, task.id)
    follow_all(servers)
    comments.wait_for("pending")
