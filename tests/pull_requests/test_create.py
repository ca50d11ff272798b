"""A finished task becomes one pull request, however often it is asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from pydantic import SecretStr

from tests.support.backends import USER, WAIT_SECONDS, git
from tests.support.github.names import LOGIN, TOKEN
from tests.support.pull_requests import NOTHING, Hosted
from utils.config.settings import inherited_environment
from utils.credentials.github_resolver import GitHubTokenResolver
from utils.github.concurrency import ConcurrencyLimiter
from utils.github.models import MergeMethod
from utils.models.tasks import Task
from utils.pull_requests.options import PullRequestOptions
from utils.pull_requests.publisher import PullRequestResult
from utils.pull_requests.service import PullRequests
from utils.redaction import Redactor
from utils.telemetry import Metrics

pytestmark = pytest.mark.cloud_with_all("a pull request is made from what is stored")

on_github = pytest.mark.local_only("what decides is on GitHub, not where the task ran")


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


def test_the_events_tell_what_git_did_and_which_pull_request_was_opened(hosted: Hosted) -> None:
    task_id = hosted.task()
    answer = hosted.created(task_id)
    metadata = hosted.row(task_id)["execution_metadata"]
    events = hosted.backend.events(task_id)
    done = [event["data"] for event in events if event["kind"] == "git"]
    assert [data["operation"] for data in done] == ["clone", "commit", "push"]
    assert done[0]["commit"] == metadata["base_commit"]
    assert done[1]["files"] == len(hosted.row(task_id)["changed_files"])
    assert done[2]["commit"] == hosted.rev(answer["branch"])
    states = [event["data"]["state"] for event in events if event["kind"] == "sandbox"]
    assert states == ["created", "ended"]
    [opened] = [event["data"] for event in events if event["kind"] == "pull_request"]
    assert (opened["number"], opened["url"]) == (answer["pr_number"], answer["pr_url"])
    assert (opened["state"], opened["is_new"]) == ("open", True)


def test_a_second_call_changes_nothing(hosted: Hosted) -> None:
    task_id = hosted.task()
    first = hosted.created(task_id)
    options = len(hosted.server.requests)
    events = hosted.backend.events(task_id)
    assert hosted.created(task_id) == {**first, "created": False}
    assert hosted.backend.events(task_id) == events
    assert len(hosted.pulls) == 1
    assert len(hosted.server.requests) == options


def test_a_repeated_request_gets_the_first_answer(hosted: Hosted) -> None:
    task_id = hosted.task()
    key = {"idempotency_key": "first"}
    first = hosted.created(task_id, **key)
    assert first["created"] is True
    requests = len(hosted.server.requests)
    assert hosted.created(task_id, **key) == first
    assert len(hosted.server.requests) == requests
    assert hosted.refusal(task_id, title="Other", **key) == (409, "idempotency_key_reused")
    assert hosted.created(task_id) == {**first, "created": False}


def test_calls_at_once_make_one_pull_request(hosted: Hosted) -> None:
    answers = hosted.create_at_once(hosted.task(), 3)
    assert {answer["http_status"] for answer in answers} == {200}
    assert len({answer["pr_url"] for answer in answers}) == len(hosted.pulls) == 1
    assert [answer["created"] for answer in answers].count(True) == 1


def create_on_servers(
    hosted: Hosted, task_id: int, *requests: dict[str, Any]
) -> list[PullRequestResult]:
    """Ask as many servers on one database at once: what waits in one process does not in two."""
    one = hosted.services
    tokens = GitHubTokenResolver(one.settings, one.database, one.vault, None)

    def create(fields: dict[str, Any]) -> PullRequestResult:
        environment = inherited_environment()
        limiter = ConcurrencyLimiter(one.settings.request_threads)
        server = PullRequests(
            one.settings, one.database, tokens, Redactor(), environment, limiter, Metrics()
        )
        options = PullRequestOptions(github_token=SecretStr(TOKEN), allow_simulated=True, **fields)
        return server.create(USER, task_id, options)[0].result

    with ThreadPoolExecutor(len(requests)) as threads:
        return list(threads.map(create, requests))


@pytest.mark.parametrize(
    "titles", [(None, None), ("One title", "Another title", "A third")], ids=len
)
def test_servers_at_once_make_one_pull_request(
    hosted: Hosted, titles: tuple[str | None, ...]
) -> None:
    task_id = hosted.task()
    made = create_on_servers(hosted, task_id, *({"title": title} for title in titles))
    assert {one.pull.url for one in made} == {hosted.row(task_id)["pr_url"]}
    assert {one.commit for one in made} == {hosted.rev(made[0].branch)}
    assert len(hosted.pulls) == 1
    assert [one.is_new for one in made].count(True) == 1


@on_github
def test_a_push_that_another_server_has_yet_to_note_is_its(
    hosted: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = hosted.task()
    database = hosted.services.database
    pushed, opened = Event(), Event()
    note = database.set_pull_request

    def note_late(*arguments: Any) -> Task:
        if not pushed.is_set():
            pushed.set()
            assert opened.wait(WAIT_SECONDS)
        return note(*arguments)

    monkeypatch.setattr(database, "set_pull_request", note_late)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(create_on_servers, hosted, task_id, {"title": "One title"})
        assert pushed.wait(WAIT_SECONDS)
        second = create_on_servers(hosted, task_id, {"title": "Another title"})
        opened.set()
    assert [one.commit for one in second] == [one.commit for one in first.result()]
    assert len(hosted.pulls) == 1


@on_github
def test_titles_and_bodies_change_only_when_given(hosted: Hosted) -> None:
    task_id = hosted.task()
    first = hosted.created(task_id, title="First title", body="First body")
    pull = hosted.pulls[0]
    pull.title = "A person's title"
    hosted.created(task_id)
    assert (pull.title, pull.body) == ("A person's title", "First body")
    second = hosted.created(task_id, title="Second title")
    assert (pull.title, pull.body) == ("Second title", "First body")
    # The commit stays: people may have reviewed it.
    assert (second["commit"], second["created"]) == (first["commit"], False)
    assert git(hosted.bare, "log", "-1", "--format=%s", pull.head) == "First title"


def test_a_call_goes_on_after_the_push(hosted: Hosted) -> None:
    task_id = hosted.task()
    hosted.github.fail("unavailable", on="POST .*/pulls", times=1)
    assert hosted.refusal(task_id) == (503, "github_unavailable")
    row = hosted.row(task_id)
    assert (row["pr_branch"], row["pr_url"]) == (f"async-code/task-{task_id}", None)
    commit = hosted.rev(row["pr_branch"])
    assert hosted.created(task_id)["commit"] == commit


@on_github
def test_a_push_that_nobody_noted_is_gone_on_with_under_another_title(hosted: Hosted) -> None:
    task_id = hosted.task()
    hosted.github.fail("unavailable", on="POST .*/pulls", times=1)
    assert hosted.refusal(task_id, title="One title") == (503, "github_unavailable")
    commit = hosted.rev(hosted.row(task_id)["pr_branch"])
    hosted.services.database.set_pull_request(USER, task_id, NOTHING)
    answer = hosted.created(task_id, title="Another title")
    assert (answer["commit"], answer["title"]) == (commit, "Another title")
    assert hosted.row(task_id)["pr_number"] == answer["pr_number"]


def test_a_lost_note_is_written_again(hosted: Hosted) -> None:
    task_id = hosted.task()
    first = hosted.created(task_id, title="Not the usual one")
    hosted.services.database.set_pull_request(USER, task_id, NOTHING)
    assert hosted.created(task_id) == {**first, "created": False}
    assert hosted.row(task_id)["pr_url"] == first["pr_url"]
    assert len(hosted.pulls) == 1


@on_github
def test_what_somebody_else_pushed_is_left_alone(hosted: Hosted) -> None:
    task_id = hosted.task()
    branch = hosted.created(task_id)["branch"]
    theirs = hosted.commit_by_hand(branch)
    assert hosted.refusal(task_id) == (409, "branch_changed")
    assert hosted.rev(branch) == theirs
    assert len(hosted.pulls) == 1


@on_github
def test_the_same_files_on_another_commit_are_left_alone(hosted: Hosted) -> None:
    task_id = hosted.task()
    first = hosted.created(task_id)
    hosted.pulls[0].state = "closed"
    theirs = hosted.commit_by_hand(first["branch"])
    hosted.services.database.set_pull_request(USER, task_id, NOTHING)
    assert hosted.refusal(task_id) == (409, "branch_changed")
    assert hosted.rev(first["branch"]) == theirs


@on_github
def test_a_branch_that_was_there_is_left_alone(hosted: Hosted) -> None:
    task_id = hosted.task()
    branch = f"async-code/task-{task_id}"
    git(hosted.bare, "update-ref", f"refs/heads/{branch}", "main")
    theirs = hosted.commit_by_hand(branch)
    assert hosted.refusal(task_id) == (409, "branch_changed")
    assert (hosted.rev(branch), hosted.pulls) == (theirs, [])


@on_github
def test_after_a_closed_pull_request_there_is_a_new_one(hosted: Hosted) -> None:
    task_id = hosted.task()
    first = hosted.created(task_id)
    hosted.pulls[0].state = "closed"
    second = hosted.created(task_id)
    assert second["pr_number"] != first["pr_number"]
    assert [pull.state for pull in hosted.pulls] == ["open", "closed"]
    assert hosted.row(task_id)["pr_number"] == second["pr_number"]


@on_github
def test_a_branch_that_was_deleted_is_pushed_again(hosted: Hosted) -> None:
    task_id = hosted.task()
    first = hosted.created(task_id)
    hosted.delete(first["branch"])
    second = hosted.created(task_id)
    assert (second["commit"], second["created"]) == (first["commit"], True)


@on_github
def test_a_merged_result_is_told(hosted: Hosted) -> None:
    task_id = hosted.task()
    branch = hosted.created(task_id)["branch"]
    git(hosted.bare, "update-ref", "refs/heads/main", branch)
    hosted.pulls[0].state = "closed"
    assert hosted.refusal(task_id) == (409, "no_commits")


@on_github
@pytest.mark.parametrize("method", MergeMethod)
def test_after_a_merge_there_is_no_second_pull_request(hosted: Hosted, method: MergeMethod) -> None:
    task_id = hosted.task()
    made = hosted.created(task_id)
    with hosted.client() as github:
        github.merge_pull(hosted.name, made["pr_number"], method=method)
    hosted.delete(made["branch"])
    answer = hosted.create(task_id)
    assert (answer["http_status"], answer["code"]) == (409, "pull_request_merged")
    assert f"Pull request {made['pr_number']} " in answer["error"]
    assert len(hosted.pulls) == 1
    assert git(hosted.bare, "branch", "--list", made["branch"]) == ""


@on_github
def test_what_is_merged_can_be_asked_for_on_another_base(hosted: Hosted) -> None:
    git(hosted.bare, "branch", "release/1.x", "main")
    task_id = hosted.task()
    made = hosted.created(task_id)
    with hosted.client() as github:
        github.merge_pull(hosted.name, made["pr_number"], method=MergeMethod.SQUASH)
    assert hosted.refusal(task_id, base="main") == (409, "pull_request_merged")
    assert hosted.created(task_id, base="release/1.x")["base"] == "release/1.x"


@on_github
def test_a_pull_request_is_for_another_base(hosted: Hosted) -> None:
    git(hosted.bare, "branch", "release/1.x", "main")
    task_id = hosted.task()
    assert hosted.created(task_id, base="release/1.x")["base"] == "release/1.x"
    assert hosted.created(task_id)["base"] == "release/1.x"
    assert hosted.created(task_id, base="main")["base"] == "main"
    assert len(hosted.pulls) == 1


@pytest.mark.parametrize("given", [{}, {"body": "Please look."}])
def test_partial_results_say_so(hosted: Hosted, given: dict[str, str]) -> None:
    row = hosted.backend.perform("echo x >>one.txt; exit 3", hosted.url, github_token=TOKEN)
    assert (row["status"], row["has_patch"]) == ("failed", True)
    hosted.created(row["id"], **given)
    body = hosted.pulls[0].body
    assert body.startswith("**This is a partial result:**")
    assert "agent_failed" in body
    assert given.get("body", "Made by the agent") in body
    assert row["chat_messages"][-1]["role"] == "assistant"
    assert "Its changes up to then are stored: 1 file." in row["chat_messages"][-1]["content"]
