"""A finished task becomes one pull request, however often it is asked for."""

from __future__ import annotations

from tests.github_names import LOGIN
from tests.pull_requests import Hosted

pytest_plugins = ("tests.pull_request_fixtures",)


def test_a_pull_request_holds_what_the_sandbox_held(hosted: Hosted) -> None:
    task_id = hosted.task()
    answer = hosted.created(task_id)
    pull = hosted.pulls[0]
    assert answer["status"] == "success"
    assert (answer["pr_number"], answer["branch"]) == (pull.number, f"async-code/task-{task_id}")
    assert answer["pr_url"].endswith(f"/{hosted.name}/pull/{pull.number}")
    assert (answer["files_updated"], answer["created"], answer["warnings"]) == (1, True, [])
    assert (pull.head, pull.base, pull.author) == (answer["branch"], "main", LOGIN)
    row = hosted.row(task_id)
    metadata = row["execution_metadata"]
    assert hosted.rev(f"{answer['branch']}^{{tree}}") == metadata["tree_hash"]
    assert hosted.rev(f"{answer['branch']}^") == metadata["base_commit"]
    assert (row["pr_number"], row["pr_url"]) == (pull.number, answer["pr_url"])
    assert (row["pr_branch"], row["pr_state"]) == (answer["branch"], "open")


def test_a_second_call_changes_nothing(hosted: Hosted) -> None:
    task_id = hosted.task()
    first = hosted.created(task_id)
    asked = len(hosted.server.requests)
    second = hosted.created(task_id)
    assert second == {**first, "created": False}
    assert len(hosted.pulls) == 1
    assert len(hosted.server.requests) == asked
