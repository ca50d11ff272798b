"""Refusals of pull requests have a status, a code and a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.backends import USER, Repository, git, shell_agent
from tests.support.github.names import LOGIN, TOKEN
from tests.support.pull_requests import Hosted, Hub, open_hub
from tests.support.waiting import eventually

pytestmark = pytest.mark.local_only("it is refused alike wherever the task ran")

WORKFLOW = ".github/workflows/ci.yml"


@pytest.fixture(scope="module")
def with_workflow(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Hosted:
    origin = Repository(tmp_path_factory.mktemp("workflow") / "origin")
    origin.commit(f"mkdir -p .github/workflows; echo on >{WORKFLOW}; echo one >one.txt")
    return hub.host(origin)


@pytest.fixture(scope="module")
def standing(hub: Hub, small_origin: Repository) -> Hosted:
    return hub.host(small_origin)


@pytest.fixture(scope="module")
def ended(standing: Hosted) -> int:
    """Provide a task without a pull request."""
    return standing.task()


@pytest.fixture
def shared(standing: Hosted) -> Iterator[Hosted]:
    """Provide the repository of that task."""
    found = standing.github.repositories[standing.name]
    roles = dict(found.roles)
    yield standing
    standing.github.failing.clear()
    standing.github.repositories[standing.name] = found
    found.roles, found.archived = roles, False
    assert standing.pulls == []


def test_only_the_owner_of_a_task_may(shared: Hosted, ended: int) -> None:
    response = shared.backend.app.test_client().post(
        f"/create-pr/{ended}", json={}, headers={"X-User-ID": str(uuid4())}
    )
    assert (response.status_code, response.get_json()["code"]) == (404, "not_found")


def test_a_task_has_to_end_first(hosted: Hosted) -> None:
    task_id = hosted.backend.start("sleep 30", hosted.url, github_token=TOKEN)
    eventually(lambda: hosted.backend.status(task_id).get("stage") == "agent")
    assert hosted.refusal(task_id) == (409, "task_not_ended")
    hosted.backend.post(f"/tasks/{task_id}/cancel")
    assert hosted.refusal(task_id) == (409, "no_changes")


def test_changes_are_needed(hosted: Hosted) -> None:
    assert hosted.refusal(hosted.task("true")) == (409, "no_changes")


@pytest.mark.parametrize(
    "undo", ["git revert --no-edit HEAD", "git reset -q HEAD^ -- .; git checkout -q ."]
)
def test_commits_that_take_each_other_back_change_nothing(hosted: Hosted, undo: str) -> None:
    task_id = hosted.task(f"echo x >>one.txt; git commit -qam A; {undo}")
    assert hosted.row(task_id)["has_patch"]
    assert hosted.refusal(task_id) == (409, "no_changes")


@pytest.mark.parametrize("script", ["chmod +x one.txt", "touch empty.txt"])
def test_no_line_has_to_change(hosted: Hosted, script: str) -> None:
    assert hosted.created(hosted.task(script))["files_updated"] == 1


def test_changes_that_were_too_large_cannot_be_pushed(
    small_origin: Repository, tmp_path: Path
) -> None:
    with open_hub(tmp_path, max_patch_bytes=1_000) as hub:
        hosted = hub.host(small_origin)
        assert hosted.refusal(hosted.task("seq 1000 >new.txt")) == (409, "patch_too_large")


def test_an_imported_task_cannot_be_pushed(hosted: Hosted) -> None:
    old = {
        "id": "1", "status": "completed", "prompt": "Old", "repo_url": hosted.url,
        "branch": "main", "model": "claude", "git_patch": "diff", "git_diff": "diff",
    }  # fmt: skip
    answer = hosted.backend.post("/migrate-legacy-tasks", **{"1": old})
    assert answer["http_status"] == 200, answer
    task_id = max(int(number) for number in hosted.backend.get("/tasks")["tasks"])
    assert hosted.refusal(task_id) == (409, "base_commit_unknown")


@pytest.mark.parametrize("given", [{}, {"title": "Add a page", "body": "Please look."}])
def test_a_simulated_result_becomes_a_marked_draft(hosted: Hosted, given: dict[str, str]) -> None:
    with shell_agent():
        task_id = hosted.task()
    hosted.created(task_id, allow_simulated=False, **given)
    pull = hosted.pulls[0]
    assert pull.draft
    assert pull.title.startswith("[simulated] ")
    assert pull.title.endswith(given.get("title", ""))
    assert pull.body.startswith("**This is a simulated result:**")
    assert given.get("body", "Made by the agent") in pull.body


def test_in_production_simulated_results_have_to_be_asked_for(
    hosted: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shell_agent():
        task_id = hosted.task()
    production = hosted.services.settings.model_copy(update={"environment": "production"})
    monkeypatch.setattr(hosted.services.pull_requests, "_settings", production)
    for _ in range(2):
        assert hosted.refusal(task_id, allow_simulated=False) == (409, "result_simulated")
    messages = [message["content"] for message in hosted.row(task_id)["chat_messages"]]
    reasons = [text for text in messages if "could not be opened" in text]
    assert len(reasons) == 1
    assert "allow_simulated: true" in reasons[0]
    hosted.created(task_id)
    assert hosted.pulls[0].draft


@pytest.mark.parametrize(
    "script",
    [
        f"mkdir -p .github/workflows; echo x >{WORKFLOW}",
        f"echo more >>{WORKFLOW}",
        f"rm {WORKFLOW}",
        f"chmod +x {WORKFLOW}",
        f"git mv {WORKFLOW} elsewhere.yml",
        "git mv one.txt .github/workflows/one.yml",
        "git mv .github/workflows .github/kept",
        "rm -r .github; ln -s elsewhere .github",
    ],
)
def test_workflow_changes_have_to_be_asked_for(with_workflow: Hosted, script: str) -> None:
    task_id = with_workflow.task(script)
    assert with_workflow.refusal(task_id) == (409, "workflow_changes")


def test_asked_for_workflow_changes_are_pushed(with_workflow: Hosted) -> None:
    task_id = with_workflow.task(f"echo more >>{WORKFLOW}")
    answer = with_workflow.created(task_id, allow_workflow_changes=True)
    assert WORKFLOW in git(with_workflow.bare, "diff", "--name-only", "main", answer["branch"])


def test_what_only_looks_like_a_workflow_is_none(with_workflow: Hosted) -> None:
    with_workflow.created(
        with_workflow.task("mkdir -p a/.github/workflows; echo x >a/.github/workflows/x.yml; "
        "mkdir -p 'b b/.github/workflows'; echo x >'b b/.github/workflows/x.yml'; "
        "echo x >.github/CODEOWNERS; echo 'diff --git a/.github/workflows/x' >>one.txt")
    )  # fmt: skip


def test_a_workflow_that_is_as_it_was_is_not_changed(with_workflow: Hosted) -> None:
    script = f"echo x >>{WORKFLOW}; git commit -qam A; git revert --no-edit HEAD; echo x >>one.txt"
    task_id = with_workflow.task(script)
    assert WORKFLOW.encode() in with_workflow.backend.patch(task_id)
    answer = with_workflow.created(task_id)
    assert git(with_workflow.bare, "diff", "--name-only", "main", answer["branch"]) == "one.txt"


def test_repositories_elsewhere_have_no_pull_requests(
    hosted: Hosted, small_origin: Repository
) -> None:
    task = hosted.backend.complete("echo x >x", small_origin)
    answer = hosted.create(task["id"])
    assert (answer["http_status"], answer["code"]) == (400, "repository_not_on_github")
    assert "git am" in answer["error"]


def test_a_token_is_needed(shared: Hosted, ended: int) -> None:
    answer = shared.create(ended, github_token=None)
    assert (answer["http_status"], answer["code"]) == (400, "github_token_needed")
    assert "PUT /users/me" in answer["error"]


def test_a_token_that_is_unknown_is_refused(shared: Hosted, ended: int) -> None:
    assert shared.refusal(ended, github_token="ghp_unknown12") == (
        403, "github_token_refused",
    )  # fmt: skip


def test_a_repository_that_moved_is_followed_when_asked_for(hosted: Hosted) -> None:
    task_id = hosted.task()
    new = f"team/moved-{task_id}"
    hosted.github.move(hosted.name, new)
    answer = hosted.create(task_id)
    assert (answer["http_status"], answer["code"]) == (409, "repository_moved")
    assert new in answer["error"]
    hosted.bare.rename(hosted.server.bare(new.partition("/")[2]))
    hosted.server.tokens[new.partition("/")[2]] = TOKEN
    hosted.github.repositories[new].bare = hosted.server.bare(new.partition("/")[2])
    made = hosted.create(task_id, allow_moved=True)
    assert made["http_status"] == 200, made
    assert f"/{new}/pull/" in made["pr_url"]


def test_an_archived_repository_is_read_only(shared: Hosted, ended: int) -> None:
    shared.github.repositories[shared.name].archived = True
    assert shared.refusal(ended) == (409, "repository_archived")


def test_who_may_not_push_is_told(shared: Hosted, ended: int) -> None:
    shared.github.repositories[shared.name].roles[LOGIN] = "read"
    assert shared.refusal(ended) == (403, "repository_no_permission")


def test_a_repository_that_is_gone_is_told(shared: Hosted, ended: int) -> None:
    del shared.github.repositories[shared.name]
    assert shared.refusal(ended) == (404, "repository_not_found")


def test_a_token_without_scope_is_told(shared: Hosted, ended: int) -> None:
    shared.github.add_token("ghp_scopeless1", LOGIN, scopes=("gist",))
    shared.server.tokens.pop(shared.name.partition("/")[2])
    assert shared.refusal(ended, github_token="ghp_scopeless1") == (403, "github_token_scope")


@pytest.mark.parametrize("renamed", [False, True])
def test_a_base_branch_that_is_gone_can_be_replaced(hosted: Hosted, renamed: bool) -> None:
    git(hosted.bare, "branch", "old", "main")
    task_id = hosted.task(branch="old")
    git(hosted.bare, "branch", *(("-m", "old", "new") if renamed else ("-D", "old")))
    answer = hosted.create(task_id)
    assert (answer["http_status"], answer["code"]) == (409, "base_branch_missing")
    assert "main" in answer["error"]
    assert hosted.refusal(task_id, base="nowhere") == (409, "base_branch_missing")
    assert hosted.created(task_id, base="new" if renamed else "main")["created"]


@pytest.mark.parametrize(
    ("failure", "code", "status"),
    [
        ("secondary_limit", "github_rate_limited", 503),
        ("primary_limit", "github_rate_limited", 503),
        ("sso", "github_sso_required", 403),
        ("ip_allow_list", "github_ip_refused", 403),
        ("blocked", "repository_blocked", 403),
        ("server_error", "github_unavailable", 503),
        ("html", "github_unavailable", 503),
        ("reset", "github_unavailable", 503),
    ],
)
def test_refusals_of_github_keep_their_codes(
    shared: Hosted, ended: int, failure: str, code: str, status: int
) -> None:
    shared.github.fail(failure, on="GET /repos")
    assert shared.refusal(ended) == (status, code)
    shared.github.failing.clear()
    shared.github.fail(failure, on="POST .*/pulls")
    assert shared.refusal(ended) == (status, code)


def test_a_limit_says_when_to_try_again(shared: Hosted, ended: int) -> None:
    shared.github.fail("secondary_limit", on="POST .*/pulls")
    response = shared.backend.app.test_client().post(
        f"/create-pr/{ended}",
        json={"github_token": TOKEN, "allow_simulated": True},
        headers={"X-User-ID": USER},
    )
    assert (response.status_code, response.headers["Retry-After"]) == (503, "7")


def test_a_protected_branch_and_refused_pushes_are_told(hosted: Hosted) -> None:
    task_id = hosted.task()
    hook = hosted.bare / "hooks" / "pre-receive"
    hook.parent.mkdir()
    hook.write_text(
        "#!/bin/sh\necho 'error: GH013: Repository rule violations found' >&2\nexit 1\n"
    )
    hook.chmod(0o755)
    assert hosted.refusal(task_id) == (409, "branch_protected")
    assert hosted.pulls == []
    assert hosted.row(task_id)["pr_branch"] is None


@pytest.mark.parametrize(
    "body",
    [
        {"base": "no..branch"},
        {"base": "-x"},
        {"labels": [""]},
        {"labels": ["nul\0"]},
        {"labels": ["x" * 51]},
        {"labels": "bug"},
        {"reviewers": ["no user"]},
        {"reviewers": ["../x"]},
        {"unknown": 1},
        {"draft": "yes"},
        {"allow_simulated": 1},
    ],
)
def test_wrong_fields_are_refused(shared: Hosted, ended: int, body: dict[str, object]) -> None:
    assert shared.refusal(ended, **body)[0] == 400


def test_the_base_cannot_be_the_tasks_own_branch(shared: Hosted, ended: int) -> None:
    assert shared.refusal(ended, base=f"async-code/task-{ended}") == (400, "invalid_request")
