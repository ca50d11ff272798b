"""A task's branch is shared with people: with their commits, pull requests and merges."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from main import stop_app
from tests.support.backends import USER, Repository, git, open_backend
from tests.support.pull_requests import NOTHING, Hosted, open_hub
from utils.github.models import GitHubPull, MergeMethod

pytestmark = pytest.mark.local_only("what decides is on GitHub, not where the task ran")

RELEASE = "release/1.x"


@pytest.fixture
def released(hosted: Hosted) -> Hosted:
    """Provide the repository with a second branch to merge into."""
    git(hosted.bare, "branch", RELEASE, "main")
    return hosted


def opened_by_hand(hosted: Hosted, branch: str, base: str = RELEASE) -> GitHubPull:
    """Open a pull request of a task's branch, as a person does on GitHub."""
    with hosted.client() as github:
        return github.create_pull(
            hosted.name, head=branch, base=base, title="By hand", body="Ours."
        )


@contextmanager
def restarted(hosted: Hosted, folder: Path, **settings: Any) -> Iterator[None]:
    """Have the server stopped, and started on the same data with other settings."""
    stop_app(hosted.backend.app)
    api_url = hosted.github.api_url
    with open_backend(folder / "data", github_api_url=api_url, **settings) as backend:
        hosted.backend = backend
        yield


def test_a_new_name_of_branches_is_for_what_is_pushed_from_then_on(
    small_origin: Repository, tmp_path: Path
) -> None:
    with open_hub(tmp_path) as hub:
        hosted = hub.host(small_origin)
        pushed, other = hosted.task(), hosted.task()
        first = hosted.created(pushed)
        with restarted(hosted, tmp_path, pull_request_branch="bot/{task_id}"):
            assert hosted.created(pushed) == {**first, "created": False}
            assert hosted.created(other)["branch"] == f"bot/{other}"
            assert len(hosted.pulls) == 2
            hosted.pulls[1].state = "closed"
            assert hosted.created(pushed)["branch"] == first["branch"]
            code = hosted.refusal(pushed, base=first["branch"])[1]
            assert code == "invalid_request"


def test_a_second_pull_request_of_somebody_else_is_left_alone(released: Hosted) -> None:
    task_id = released.task()
    first = released.created(task_id)
    theirs = opened_by_hand(released, first["branch"])
    assert released.created(task_id, title="New title")["pr_number"] == first["pr_number"]
    assert [pull.title for pull in released.pulls] == ["By hand", "New title"]
    assert [pull.base for pull in released.pulls] == [theirs.base, "main"]
    assert released.row(task_id)["pr_number"] == first["pr_number"]


def test_beside_somebody_elses_pull_request_ours_is_made(released: Hosted) -> None:
    task_id = released.task()
    first = released.created(task_id)
    opened_by_hand(released, first["branch"])
    released.pulls[1].state = "closed"
    again = released.created(task_id, title="New title")
    assert (again["created"], again["base"]) == (True, "main")
    assert [pull.title for pull in released.pulls] == ["New title", "By hand", first["title"]]


def test_a_pull_request_does_not_take_the_base_of_another(released: Hosted) -> None:
    task_id = released.task()
    first = released.created(task_id)
    theirs = opened_by_hand(released, first["branch"])
    answer = released.create(task_id, base=RELEASE, title="New title")
    assert (answer["http_status"], answer["code"]) == (409, "pull_request_exists")
    assert theirs.url in answer["error"]
    assert [pull.title for pull in released.pulls] == ["By hand", first["title"]]
    assert [pull.base for pull in released.pulls] == [RELEASE, "main"]


def test_the_one_for_the_wanted_base_is_it_where_none_is_noted(released: Hosted) -> None:
    task_id = released.task()
    released.github.fail("unavailable", on="POST .*/pulls", times=1)
    assert released.refusal(task_id) == (503, "github_unavailable")
    branch = released.row(task_id)["pr_branch"]
    theirs = [opened_by_hand(released, branch, base) for base in ("main", RELEASE)]
    assert released.created(task_id)["pr_number"] == theirs[0].number
    assert released.row(task_id)["pr_number"] == theirs[0].number


@pytest.mark.parametrize("method", [MergeMethod.SQUASH, MergeMethod.REBASE])
def test_what_is_merged_with_commits_of_others_is_merged(
    hosted: Hosted, method: MergeMethod
) -> None:
    task_id = hosted.task()
    made = hosted.created(task_id)
    hosted.commit_by_hand(made["branch"])
    with hosted.client() as github:
        github.merge_pull(hosted.name, made["pr_number"], method=method)
    hosted.delete(made["branch"])
    assert hosted.refusal(task_id) == (409, "pull_request_merged")
    assert len(hosted.pulls) == 1
    assert git(hosted.bare, "branch", "--list", made["branch"]) == ""


def test_what_is_merged_stays_so_beside_other_pull_requests(released: Hosted) -> None:
    task_id = released.task()
    made = released.created(task_id)
    with released.client() as github:
        github.merge_pull(released.name, made["pr_number"], method=MergeMethod.SQUASH)
    assert released.created(task_id, base=RELEASE)["base"] == RELEASE
    # The open one does not become one for what has the result already.
    assert released.refusal(task_id, base="main") == (409, "pull_request_merged")
    assert released.pulls[0].base == RELEASE
    assert released.row(task_id)["pr_state"] == "open"
    released.pulls[0].state = "closed"
    released.delete(made["branch"])
    answer = released.create(task_id)
    assert (answer["http_status"], answer["code"]) == (409, "pull_request_merged")
    assert f"Pull request {made['pr_number']} " in answer["error"]
    assert len(released.pulls) == 2
    row = released.row(task_id)
    assert (row["pr_url"], row["pr_state"]) == (made["pr_url"], "merged")


@pytest.mark.parametrize("is_noted", [True, False])
def test_what_a_person_has_merged_with_a_pull_request_of_their_own_is_merged(
    hosted: Hosted, is_noted: bool
) -> None:
    task_id = hosted.task()
    made = hosted.created(task_id)
    hosted.pulls[0].state = "closed"
    theirs = opened_by_hand(hosted, made["branch"], "main")
    hosted.commit_by_hand(made["branch"])
    with hosted.client() as github:
        github.merge_pull(hosted.name, theirs.number, method=MergeMethod.SQUASH)
    hosted.delete(made["branch"])
    if not is_noted:
        hosted.services.database.set_pull_request(USER, task_id, NOTHING)
    assert hosted.refusal(task_id) == (409, "pull_request_merged")
    assert len(hosted.pulls) == 2
    row = hosted.row(task_id)
    assert (row["pr_number"], row["pr_state"]) == (theirs.number, "merged")


def test_a_branch_that_another_task_once_had_is_no_obstacle(hosted: Hosted) -> None:
    task_id = hosted.task()
    branch = f"async-code/task-{task_id}"
    git(hosted.bare, "branch", branch, "main")
    hosted.commit_by_hand(branch)
    old = opened_by_hand(hosted, branch, "main")
    with hosted.client() as github:
        github.merge_pull(hosted.name, old.number)
    hosted.delete(branch)
    assert hosted.created(task_id)["pr_number"] == old.number + 1
    hosted.pulls[0].state = "closed"
    assert hosted.created(task_id)["pr_number"] == old.number + 2


def test_how_a_pull_request_ended_is_known_after_a_call(hosted: Hosted) -> None:
    task_id = hosted.task()
    made = hosted.created(task_id)
    git(hosted.bare, "update-ref", "refs/heads/main", made["branch"])
    hosted.pulls[0].state = "closed"
    assert hosted.refusal(task_id) == (409, "no_commits")
    assert hosted.row(task_id)["pr_state"] == "closed"


def test_a_branch_that_has_moved_on_is_told_with_its_pull_request(hosted: Hosted) -> None:
    task_id = hosted.task()
    made = hosted.created(task_id)
    theirs = hosted.commit_by_hand(made["branch"])
    answer = hosted.create(task_id, title="New title")
    assert (answer["http_status"], answer["code"]) == (409, "branch_changed")
    change = f"PUT /github/repos/{hosted.name}/pulls/{made['pr_number']}."
    assert all(text in answer["error"] for text in (made["pr_url"], theirs, change, "rename"))
    assert (hosted.rev(made["branch"]), hosted.pulls[0].title) == (theirs, made["title"])
    # As the message says: where the branch is gone, the result is pushed anew.
    hosted.delete(made["branch"])
    assert hosted.created(task_id)["commit"] == made["commit"]
