"""A task's pull request from its making to its end, over HTTP and by what GitHub delivers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.backends import USER, Repository, git
from tests.support.github.app import SECRET, WebhookSender, services_of
from tests.support.github.names import TOKEN
from tests.support.github.pulls import ended
from tests.support.pull_requests import Hosted, open_hub


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory, small_origin: Repository) -> Iterator[Hosted]:
    """Provide a repository on GitHub, and a server with its own token for it."""
    folder = tmp_path_factory.mktemp("life")
    own: dict[str, Any] = {"github_token": TOKEN, "github_webhook_secret": SECRET}
    with open_hub(folder, **own) as hub:
        yield hub.host(small_origin)


def state(hosted: Hosted, task_id: int) -> str | None:
    return services_of(hosted.backend.app).database.get_task(USER, task_id).pr_state


def test_what_a_task_pushed_is_judged_and_merged_as_it_is(hosted: Hosted) -> None:
    task_id = hosted.task("echo more >>one.txt")
    made = hosted.created(task_id)
    assert state(hosted, task_id) == "open"
    tree = hosted.rev(f"{made['branch']}^{{tree}}")
    judged = hosted.backend.post(f"/github/tasks/{task_id}/status", state="success")
    assert judged["commit"] == hosted.rev(made["branch"])
    assert [*hosted.github.repositories[hosted.name].statuses] == [judged["commit"]]
    pull = f"/github/repos/{hosted.name}/pulls/{made['pr_number']}"
    merged = hosted.backend.post(f"{pull}/merge", method="squash", sha=judged["commit"])
    assert merged["http_status"] == 200
    assert hosted.rev("main") == merged["sha"]
    assert git(hosted.bare, "rev-parse", "main^{tree}") == tree
    assert state(hosted, task_id) == "merged"


def test_a_pull_request_that_is_closed_on_github_is_known_to_be(hosted: Hosted) -> None:
    task_id = hosted.task("echo other >>two.txt")
    made = hosted.created(task_id)
    delivery = ended("closed", made["pr_url"], number=made["pr_number"], branch=made["branch"])
    message = WebhookSender(hosted.backend.app).message("pull_request", delivery, "closed-it")
    assert message == "The pull request is closed; tasks updated: 1."
    assert state(hosted, task_id) == "closed"


def test_a_pull_request_is_known_after_its_repository_was_renamed(hosted: Hosted) -> None:
    task_id = hosted.task("echo third >>three.txt")
    made = hosted.created(task_id)
    new = f"{hosted.name}-renamed"
    hosted.github.move(hosted.name, new)
    address = made["pr_url"].replace(hosted.name, new)
    assert address != made["pr_url"]
    its = {"number": made["pr_number"], "branch": made["branch"], "full_name": new}
    merged = ended("closed", address, merged=True, **its)
    message = WebhookSender(hosted.backend.app).message("pull_request", merged, "merged-it")
    assert message == "The pull request is merged; tasks updated: 1."
    row = hosted.row(task_id)
    assert (row["pr_state"], row["pr_url"]) == ("merged", address)
