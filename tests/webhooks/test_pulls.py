"""Pull requests whose repository has moved, and those that only look as if theirs had."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask

from tests.conftest import MakeApp
from tests.fakes.github.service import FakeGitHub
from tests.support.database.broken import broken
from tests.support.github.app import SECRET, SERVER_TOKEN, Caller, WebhookSender, services_of
from tests.support.github.names import NAME
from tests.support.github.pulls import ended
from utils.github.client import GitHub
from utils.models.tasks import NewTask
from utils.webhooks.delivery import ALREADY_PROCESSED

NEW = "team/renamed"
BAIT = "stranger/bait"
NOTHING = "This pull request belongs to no task."

_numbers = count(1000)


@pytest.fixture(scope="module")
def app(make_app: MakeApp, github_server: FakeGitHub) -> Flask:
    """Provide an application that accepts deliveries."""
    secrets = {"github_webhook_secret": SECRET, "github_token": SERVER_TOKEN}
    return make_app(github_api_url=github_server.api_url, **secrets)


class PullRequestResult:
    """A task with a pull request in the repository, and what GitHub delivers about it."""

    def __init__(self, app: Flask, github: FakeGitHub) -> None:
        self.caller = Caller(app, str(uuid4()))
        self.hook = WebhookSender(app)
        self.github = github
        self.number = next(_numbers)
        self.branch = f"async-code/task-{self.number}"
        known = {"pr_number": self.number, "pr_branch": self.branch, "pr_commit": "c0ffee"}
        self.url = self.address(NAME)
        self.task_id = self.caller.task(github, pr_url=self.url, pr_state="open", **known)
        github.requests.clear()

    def address(self, full_name: str) -> str:
        return f"{self.github.url}/{full_name}/pull/{self.number}"

    def payload(self, action: str, full_name: str, **changes: Any) -> dict[str, Any]:
        its: dict[str, Any] = {"number": self.number, "branch": self.branch, "full_name": full_name}
        return ended(action, self.address(full_name), **(its | changes))

    def deliver(self, action: str, full_name: str, **changes: Any) -> str:
        payload = self.payload(action, full_name, **changes)
        return self.hook.message("pull_request", payload, str(uuid4()))

    @property
    def state(self) -> str | None:
        return self.caller.state(self.task_id)


@pytest.fixture
def made(app: Flask, github: FakeGitHub) -> PullRequestResult:
    """Provide a task with a pull request."""
    github.add_token(SERVER_TOKEN, "server")
    github.repositories[NAME].roles["server"] = "write"
    return PullRequestResult(app, github)


@pytest.mark.parametrize("private", [False, True])
def test_a_pull_request_is_found_after_its_repository_was_renamed(
    made: PullRequestResult, github: FakeGitHub, private: bool
) -> None:
    github.repositories[NAME].private = private
    github.move(NAME, NEW)
    assert made.deliver("closed", NEW) == "The pull request is closed; tasks updated: 1."
    assert made.state == "closed"
    row = services_of(made.hook.app).database.get_task(made.caller.user, made.task_id)
    assert row.pr_url == made.address(NEW)
    github.requests.clear()
    # From then on nobody has to be asked where it is.
    made.deliver("reopened", NEW)
    assert (made.state, github.paths()) == ("open", [f"GET /repos/{NEW}/pulls/{made.number}"])


def test_who_may_not_see_the_repository_cannot_tell_that_it_was_renamed(
    made: PullRequestResult, github: FakeGitHub
) -> None:
    github.repositories[NAME].private = True
    del github.repositories[NAME].roles["server"]
    github.move(NAME, NEW)
    assert made.deliver("closed", NEW) == NOTHING
    assert made.state == "open"


@pytest.mark.parametrize("private", [False, True])
def test_a_copy_of_a_pull_request_in_another_repository_is_not_it(
    made: PullRequestResult, github: FakeGitHub, bare: Path, private: bool
) -> None:
    github.repositories[NAME].private = private
    github.add_repository(BAIT, bare, roles={"stranger": "admin", "server": "write"})
    assert made.deliver("closed", BAIT, merged=True) == NOTHING
    github.move(NAME, NEW)
    assert made.deliver("closed", BAIT, merged=True) == NOTHING
    assert made.state == "open"


def test_a_pull_request_of_another_number_or_branch_is_not_it(
    made: PullRequestResult, github: FakeGitHub
) -> None:
    github.move(NAME, NEW)
    for other in ({"number": made.number + 1}, {"branch": f"{made.branch}0"}):
        assert made.deliver("closed", NEW, **other) == NOTHING
    assert (made.state, github.requests) == ("open", [])


def test_a_task_of_another_host_has_no_pull_request_here(
    made: PullRequestResult, github: FakeGitHub
) -> None:
    database = services_of(made.hook.app).database
    elsewhere = NewTask("Hello", f"https://git.example/{NAME}", "main", "scripted")
    task = database.create_task(made.caller.user, elsewhere)
    known = {"pr_url": made.address("team/x"), "pr_number": 3, "pr_branch": "theirs"}
    database.set_pull_request(made.caller.user, task.id, {**known, "pr_state": "open"})
    assert made.deliver("closed", NAME, number=3, branch="theirs") == NOTHING
    assert github.requests == []


def test_a_new_repository_under_the_old_name_has_other_pull_requests(
    made: PullRequestResult, github: FakeGitHub, bare: Path
) -> None:
    github.move(NAME, NEW)
    github.add_repository(NAME, bare, roles={"server": "write"})
    assert made.deliver("closed", NAME, branch="feature") == NOTHING
    assert made.state == "open"


def test_while_github_does_not_say_what_was_renamed_the_delivery_may_come_again(
    made: PullRequestResult, github: FakeGitHub
) -> None:
    github.move(NAME, NEW)
    github.fail("unavailable")
    delivery = str(uuid4())
    payload = made.payload("closed", NEW)
    refused = made.hook.refusal("pull_request", payload, delivery)
    assert refused == (503, "github_unavailable")
    github.failing.clear()
    made.hook.message("pull_request", payload, delivery)
    assert made.state == "closed"


@pytest.mark.parametrize("lost", ["UPDATE OF pr_state ON tasks", "INSERT ON webhook_deliveries"])
def test_a_delivery_whose_state_could_not_be_noted_may_come_again(
    made: PullRequestResult, lost: str
) -> None:
    delivery = str(uuid4())
    payload = made.payload("closed", NAME)
    with broken(made.hook.app, lost):
        assert made.hook.refusal("pull_request", payload, delivery)[0] == 500
    deliver = made.hook.message("pull_request", payload, delivery)
    assert (deliver, made.state) == ("The pull request is closed; tasks updated: 1.", "closed")
    assert made.hook.message("pull_request", payload, delivery) == ALREADY_PROCESSED


@pytest.mark.parametrize(
    ("action", "now", "is_merged"),
    [("closed", "open", False), ("reopened", "closed", False), ("closed", "merged", True)],
)
def test_a_late_delivery_has_what_is_so_now_noted(
    made: PullRequestResult,
    github: FakeGitHub,
    alice: GitHub,
    action: str,
    now: str,
    is_merged: bool,
) -> None:
    github.repositories[NAME].private = True
    number = alice.create_pull(NAME, head="topic", base="main", title="Two", body="").number
    if is_merged:
        alice.merge_pull(NAME, number)
    elif now == "closed":
        alice.update_pull(NAME, number, state=now)
    task_id = made.caller.task(github, pr_url=f"{github.url}/{NAME}/pull/{number}", pr_state="x")
    payload = ended(action, f"{github.url}/{NAME}/pull/{number}", number=number)
    deliver = made.hook.message("pull_request", payload, str(uuid4()))
    assert deliver.startswith(f"The pull request is {now}; ")
    assert made.caller.state(task_id) == now


@pytest.mark.parametrize(("minutes", "state"), [(-5, "open"), (5, "closed")])
def test_the_newer_of_a_delivery_and_what_github_tells_is_noted(
    made: PullRequestResult, github: FakeGitHub, alice: GitHub, minutes: int, state: str
) -> None:
    number = alice.create_pull(NAME, head="topic", base="main", title="Two", body="").number
    url = f"{github.url}/{NAME}/pull/{number}"
    task_id = made.caller.task(github, pr_url=url, pr_state="open")
    payload = ended("closed", url, number=number)
    at = datetime.now(UTC) + timedelta(minutes=minutes)
    for odd in ("yesterday", at.strftime("%Y-%m-%dT%H:%M:%S")):
        payload["pull_request"]["updated_at"] = odd
        assert made.hook.refusal("pull_request", payload) == (400, "invalid_request")
    payload["pull_request"]["updated_at"] = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    made.hook.message("pull_request", payload, str(uuid4()))
    assert made.caller.state(task_id) == state


@pytest.mark.parametrize("failure", ["unavailable", "html", "secondary_limit"])
def test_while_github_does_not_tell_the_delivery_is_believed(
    made: PullRequestResult, github: FakeGitHub, failure: str
) -> None:
    github.fail(failure)
    made.deliver("closed", NAME)
    assert made.state == "closed"
