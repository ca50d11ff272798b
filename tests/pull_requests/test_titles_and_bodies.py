"""Titles, bodies and what else a caller may wish for a pull request."""

from __future__ import annotations

import pytest

from tests.support.backends import git, shell_agent
from tests.support.pull_requests import SCRIPT, Hosted

pytestmark = pytest.mark.local_only("the text is the same wherever the task ran")


def project_of(hosted: Hosted, **settings: object) -> int:
    answer = hosted.backend.post(
        "/projects", name="Demo", repo_url=hosted.url, settings=dict(settings)
    )
    assert answer["http_status"] == 200, answer
    return int(answer["project"]["id"])


def test_the_text_is_made_from_the_task(hosted: Hosted) -> None:
    task_id = hosted.task(f"# Make it longer, @team, as in #1\n{SCRIPT}")
    answer = hosted.created(task_id, title="  ")
    pull = hosted.pulls[0]
    assert pull.title == answer["title"] == "Make it longer, @\u200bteam, as in #\u200b1"
    assert f"task {task_id}" in pull.body
    assert "`one.txt`" in pull.body
    assert "### Notes" not in pull.body
    author, committer, when, subject = git(
        hosted.bare, "log", "-1", "--format=%an %ae%n%cn %ce%n%at%n%s", pull.head
    ).splitlines()
    assert author == "shell agent@async-code.invalid"
    assert committer == "async-code agent@async-code.invalid"
    assert int(when) > 0
    assert subject == pull.title


def test_the_text_tells_what_was_left_out(hosted: Hosted) -> None:
    hosted.created(hosted.task(f"{SCRIPT}\necho x >'git~1'"))
    body = hosted.pulls[0].body
    assert "### Notes\n\n```text\nLeft out: git~1." in body
    assert "### Changed files" in body


def test_given_texts_are_cut_to_what_github_takes(hosted: Hosted) -> None:
    answer = hosted.created(hosted.task(), title="word " * 100, body="Zeile äöü\n" * 9_000)
    pull = hosted.pulls[0]
    assert answer["title"] == pull.title
    assert (len(pull.title) <= 256, pull.title.endswith("...")) == (True, True)
    assert len(pull.body.encode()) <= 65_536
    assert pull.body.endswith("GitHub's size limit.")


def test_conventional_titles_are_made_and_wanted(hosted: Hosted) -> None:
    project_id = project_of(hosted, conventional_commits=True)
    task_id = hosted.task(f"# Fix the file that is too short\n{SCRIPT}", project_id=project_id)
    answer = hosted.create(task_id, title="Fixes the file")
    assert (answer["http_status"], answer["code"]) == (400, "title_not_conventional")
    assert "type(scope): description" in answer["error"]
    assert hosted.pulls == []
    made = hosted.created(task_id)
    assert made["title"] == "fix: fix the file that is too short"
    assert git(hosted.bare, "log", "-1", "--format=%s", made["branch"]) == made["title"]
    assert hosted.created(task_id, title="feat(one)!: more")["title"] == "feat(one)!: more"


def test_other_projects_have_titles_of_any_form(hosted: Hosted) -> None:
    task_id = hosted.task(project_id=project_of(hosted, conventional_commits=False))
    assert hosted.created(task_id, title="Any form")["title"] == "Any form"


def test_drafts_labels_and_reviewers(hosted: Hosted) -> None:
    task_id = hosted.task()
    options = {"labels": ["bug", "made by an agent"], "reviewers": ["carol", "team/core"]}
    answer = hosted.created(task_id, draft=True, **options)
    pull = hosted.pulls[0]
    assert (answer["draft"], pull.draft, answer["warnings"]) == (True, True, [])
    assert (sorted(pull.labels), pull.reviewers, pull.teams) == (
        options["labels"], ["carol"], ["core"],
    )  # fmt: skip
    hosted.created(task_id, labels=["more"])
    assert sorted(pull.labels) == ["bug", "made by an agent", "more"]


@pytest.mark.parametrize("reviewer", ["alice", "nobody"])
def test_a_wish_that_github_refuses_is_a_warning(hosted: Hosted, reviewer: str) -> None:
    task_id = hosted.task()
    answer = hosted.created(task_id, reviewers=[reviewer], labels=["bug"])
    assert [warning["code"] for warning in answer["warnings"]] == ["reviewers_invalid"]
    assert hosted.pulls[0].labels == ["bug"]
    assert hosted.row(task_id)["pr_url"] == answer["pr_url"]


def test_one_wrong_reviewer_does_not_keep_the_others_from_being_asked(hosted: Hosted) -> None:
    task_id = hosted.task()
    answer = hosted.created(task_id, reviewers=["nobody", "carol", "team/core", "alice", "bob"])
    pull = hosted.pulls[0]
    assert (sorted(pull.reviewers), pull.teams) == (["bob", "carol"], ["core"])
    assert [warning["code"] for warning in answer["warnings"]] == ["reviewers_invalid"] * 2
    refused = [warning["error"].partition(":")[0] for warning in answer["warnings"]]
    assert refused == ["alice", "nobody"]


def test_a_failure_of_github_is_no_reason_to_ask_one_by_one(hosted: Hosted) -> None:
    task_id = hosted.task()
    hosted.github.fail("unavailable", on="requested_reviewers")
    answer = hosted.created(task_id, reviewers=["bob", "carol"])
    assert [warning["code"] for warning in answer["warnings"]] == ["github_unavailable"]


def test_who_is_asked_already_is_not_asked_again(hosted: Hosted) -> None:
    task_id = hosted.task()
    hosted.created(task_id, labels=["Bug"], reviewers=["carol", "team/core"])
    hosted.github.requests.clear()
    hosted.created(task_id, labels=["bug"], reviewers=["Carol", "Team/Core"])
    # The two requests that read are the repository and its open pull requests.
    assert [request.method for request in hosted.github.requests] == ["GET", "GET"]


def test_drafts_may_not_be_allowed(hosted: Hosted) -> None:
    hosted.github.repositories[hosted.name].allows_drafts = False
    task_id = hosted.task()
    assert hosted.refusal(task_id, draft=True) == (400, "drafts_not_supported")
    # Nobody asked for the draft of a simulated result.
    with shell_agent():
        task_id = hosted.task()
    hosted.created(task_id)
    assert hosted.pulls[0].title.startswith("[simulated] ")
    assert not hosted.pulls[0].draft
    assert hosted.created(task_id)["draft"] is False
