"""Comments on GitHub that start tasks: whose, where, and what is answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeApp
from tests.fakes.github.service import FakeGitHub
from tests.support.backends import Repository, git
from tests.support.git.server import serve_git
from tests.support.github.app import (
    BOT_USER,
    PAGE,
    SERVER_TOKEN,
    STARTS_TASKS,
    Caller,
    WebhookSender,
    services_of,
)
from tests.support.github.comments import answers, comment, deliver_comment, started
from tests.support.github.names import LOGIN, NAME, TOKEN
from tests.support.waiting import eventually
from utils.github.client import GitHub
from utils.github.comment_command import is_command
from utils.models.tasks import TERMINAL_STATUSES

IGNORED = "This event was ignored."


def test_a_comment_starts_a_task_and_is_answered_with_a_link(
    github: FakeGitHub, hook: WebhookSender
) -> None:
    before = len(hook.tasks)
    text = "/async-code Fix the `basket`.\r\n\r\n/async-code is only a word here\n"
    message = deliver_comment(hook, comment(text))
    task = started(hook, before)
    assert task.prompt == "Fix the `basket`.\r\n\r\n/async-code is only a word here"
    assert (task.agent, task.target_branch, task.user_id) == ("claude", "main", BOT_USER)
    assert task.repo_url == f"{github.url}/{NAME}"
    (project,) = services_of(hook.app).database.list_projects(BOT_USER)
    assert task.project_id == project.id
    assert answers(github) == [message] == [f"[Task {task.id}]({PAGE}/tasks/{task.id}) is queued."]
    assert len(github.requests) == 3


@pytest.mark.parametrize(
    ("body", "agent", "prompt"),
    [
        ("/async-code agent=codex Fix it", "codex", "Fix it"),
        ("/async-code agent=codex\nFix: it", "codex", "Fix: it"),
        (" \n/async-code\n  Fix it", "claude", "Fix it"),
        ("\r\n\t\r\n   /async-code Fix it", "claude", "Fix it"),
        ("/async-code codex: fix it", "claude", "codex: fix it"),
        ("/async-code $(touch x) `id` \u202e\0", "claude", "$(touch x) `id` \u202e"),
    ],
)
def test_the_rest_of_a_comment_is_the_prompt(
    hook: WebhookSender, body: str, agent: str, prompt: str
) -> None:
    before = len(hook.tasks)
    deliver_comment(hook, comment(body))
    task = started(hook, before)
    assert (task.agent, task.prompt) == (agent, prompt)


@pytest.mark.parametrize(
    "payload",
    [
        comment("/async-code Fix it", action="edited"),
        comment("/async-code Fix it", action="deleted"),
        comment("Please /async-code Fix it"),
        comment("> /async-code Fix it"),
        comment("    /async-code Fix it"),
        comment("\n\n    /async-code Fix it"),
        comment("\t/async-code Fix it"),
        comment("  \t/async-code Fix it"),
        comment("/async-code Fix it", app={"id": 7, "slug": "another"}),
        comment("/async-codex Fix it"),
        comment("/Async-code Fix it"),
        comment(""),
        comment(None),
        comment(
            "/async-code Fix it", comment={"id": 1, "body": "/async-code Fix it", "user": None}
        ),
        comment("/async-code Fix it", "helper[bot]"),
        comment(
            "x",
            comment={"id": 1, "body": "/async-code x", "user": {"login": "b", "type": "Bot"}},
        ),
    ],
)
def test_other_comments_start_nothing(
    github: FakeGitHub, hook: WebhookSender, payload: dict[str, Any]
) -> None:
    before = len(hook.tasks)
    assert deliver_comment(hook, payload) == IGNORED
    assert (len(hook.tasks), github.requests) == (before, [])


@pytest.mark.parametrize("login", ["bob", "stranger", "triager", "a/../b", "-"])
def test_who_may_not_push_starts_nothing_whatever_the_delivery_says(
    github: FakeGitHub, hook: WebhookSender, login: str
) -> None:
    github.repositories[NAME].roles |= {"triager": "triage"}
    before = len(hook.tasks)
    message = deliver_comment(hook, comment("/async-code Fix it", login))
    assert message == "The author of the comment may not push to the repository."
    assert (len(hook.tasks), answers(github)) == (before, [])


@pytest.mark.parametrize("login", [LOGIN, "carol", "maintainer"])
def test_who_may_push_may_start_tasks(github: FakeGitHub, hook: WebhookSender, login: str) -> None:
    github.repositories[NAME].roles |= {"maintainer": "maintain"}
    before = len(hook.tasks)
    deliver_comment(hook, comment("/async-code Fix it", login))
    started(hook, before)


@pytest.mark.parametrize("body", ["/async-code", "/async-code   \n", "/async-code agent=codex"])
def test_without_a_prompt_the_answer_says_what_to_write(
    github: FakeGitHub, hook: WebhookSender, body: str
) -> None:
    before = len(hook.tasks)
    deliver_comment(hook, comment(body))
    [answer] = answers(github)
    assert answer.startswith("No task was started. The prompt is missing. Write `/async-code <")
    assert not is_command(answer)
    assert len(hook.tasks) == before


def test_an_unknown_agent_is_answered_with_those_there_are(
    github: FakeGitHub, hook: WebhookSender
) -> None:
    before = len(hook.tasks)
    deliver_comment(hook, comment("/async-code agent=@everybody Fix it"))
    [answer] = answers(github)
    assert "Unknown agent." in answer
    assert answer.endswith("claude, codex, scripted.")
    assert "everybody" not in answer
    assert len(hook.tasks) == before


def test_on_a_pull_request_the_task_works_on_its_branch(
    github: FakeGitHub, hook: WebhookSender, alice: GitHub
) -> None:
    pull = alice.create_pull(NAME, head="topic", base="main", title="Add two", body="")
    before = len(hook.tasks)
    message = deliver_comment(hook, comment("/async-code Go on", number=pull.number, pull=True))
    assert started(hook, before).target_branch == "topic"
    assert answers(github, pull.number) == [message]


def test_the_branch_of_a_fork_is_not_worked_on(
    github: FakeGitHub, hook: WebhookSender, alice: GitHub
) -> None:
    pull = alice.create_pull(NAME, head="topic", base="main", title="Add two", body="")
    github.pulls(NAME)[0].head_repository = "fork/demo"
    before = len(hook.tasks)
    deliver_comment(hook, comment("/async-code Go on", number=pull.number, pull=True))
    [answer] = answers(github, pull.number)
    assert answer.startswith("No task was started. The branch of this pull request is in a fork")
    assert len(hook.tasks) == before


def test_a_merged_pull_request_is_answered_at_once(
    github: FakeGitHub, hook: WebhookSender, alice: GitHub
) -> None:
    pull = alice.create_pull(NAME, head="topic", base="main", title="Add two", body="")
    alice.merge_pull(NAME, pull.number)
    before = len(hook.tasks)
    message = deliver_comment(hook, comment("/async-code Go on", number=pull.number, pull=True))
    assert message.startswith("No task was started. This pull request is merged.")
    assert answers(github, pull.number) == [message]
    assert len(hook.tasks) == before


def test_a_pull_request_without_its_branch_is_answered_at_once(
    github: FakeGitHub, hook: WebhookSender, alice: GitHub
) -> None:
    git(github.repositories[NAME].bare, "branch", "gone", "topic")
    pull = alice.create_pull(NAME, head="gone", base="main", title="Add two", body="")
    git(github.repositories[NAME].bare, "branch", "-D", "gone")
    before = len(hook.tasks)
    message = deliver_comment(hook, comment("/async-code Go on", number=pull.number, pull=True))
    assert message.startswith("No task was started. The branch of this pull request no longer")
    assert answers(github, pull.number) == [message]
    assert len(hook.tasks) == before


def test_a_spent_budget_is_answered(github: FakeGitHub, hook: WebhookSender) -> None:
    database = services_of(hook.app).database
    (project,) = database.list_projects(BOT_USER)
    database.update_project(BOT_USER, project.id, {"settings": {"budget_usd": 0}})
    before = len(hook.tasks)
    message = deliver_comment(hook, comment("/async-code Fix it"))
    database.update_project(BOT_USER, project.id, {"settings": project.settings})
    assert len(hook.tasks) == before
    assert message.startswith("No task was started. The budget of the project for this month")
    assert answers(github) == [message]


def test_a_full_queue_is_answered(
    make_app: MakeApp, github: FakeGitHub, hook: WebhookSender, bare: Path
) -> None:
    app = make_app(github_api_url=github.api_url, max_queued_tasks=1, **STARTS_TASKS)
    services_of(app).dispatcher.pause()
    Caller(app, BOT_USER).project(github)
    other = WebhookSender(app)
    assert deliver_comment(other, comment("/async-code Fix it")).endswith(" is queued.")
    message = deliver_comment(other, comment("/async-code Fix it"))
    assert message.startswith("No task was started. ")
    assert answers(github)[-1] == message
    [task] = other.tasks
    services_of(app).dispatcher.cancel_task(BOT_USER, task.id)


def test_comments_start_nothing_unless_it_is_allowed(
    make_app: MakeApp, github: FakeGitHub, hook: WebhookSender
) -> None:
    changes = STARTS_TASKS | {"webhook_tasks": False}
    app = make_app(github_api_url=github.api_url, **changes)
    message = deliver_comment(WebhookSender(app), comment("/async-code Fix it"))
    assert (
        message == "Comments do not start tasks on this server, because WEBHOOK_TASKS is not true."
    )
    assert (WebhookSender(app).tasks, github.requests) == ([], [])


def test_a_host_that_is_not_cloned_from_is_refused(
    make_app: MakeApp, github: FakeGitHub, hook: WebhookSender
) -> None:
    app = make_app(github_api_url=github.api_url, allow_local_repos=False, **STARTS_TASKS)
    refused = WebhookSender(app).refusal("issue_comment", comment("/async-code Fix it"))
    assert refused == (400, "repository_not_allowed")
    assert github.requests == []


@pytest.fixture
def private(github: FakeGitHub, origin: Repository, tmp_path: Path) -> Iterator[FakeGitHub]:
    """GitHub whose one repository is private, and can be cloned with the server's token."""
    with serve_git(tmp_path / "served") as served:
        served.publish(origin, "demo", SERVER_TOKEN)
        github.git_port = served.port
        found = github.repositories[NAME]
        found.bare, found.private = served.bare("demo"), True
        yield github


def test_a_private_repository_is_cloned_with_the_servers_token(
    hook: WebhookSender, private: FakeGitHub
) -> None:
    before = len(hook.tasks)
    deliver_comment(hook, comment("/async-code agent=scripted Say hello"))
    task = started(hook, before)
    eventually(lambda: hook.tasks[0].status in TERMINAL_STATUSES)
    ended = hook.tasks[0]
    assert (ended.id, ended.status, ended.error) == (task.id, "completed", None)
    assert ended.changed_files == ["AI_GENERATED.md"]
    assert git(private.repositories[NAME].bare, "branch", "--list", "async-code/*") == ""


def test_a_token_of_the_users_own_clones_before_the_servers(
    hook: WebhookSender, private: FakeGitHub, origin: Repository, tmp_path: Path
) -> None:
    caller = Caller(hook.app, BOT_USER)
    with serve_git(tmp_path / "own") as served:
        served.publish(origin, "demo", TOKEN)
        private.git_port = served.port
        caller.client.put("/users/me", json={"github_token": TOKEN}, headers=caller.headers)
        before = len(hook.tasks)
        deliver_comment(hook, comment("/async-code agent=scripted Say hello"))
        started(hook, before)
        eventually(lambda: hook.tasks[0].status in TERMINAL_STATUSES)
        caller.client.put("/users/me", json={"github_token": None}, headers=caller.headers)
    assert (hook.tasks[0].status, hook.tasks[0].error) == ("completed", None)


def test_a_script_in_a_comment_is_plain_text_where_scripts_are_off(
    make_app: MakeApp, hook: WebhookSender, private: FakeGitHub
) -> None:
    off = make_app(
        github_api_url=private.api_url,
        public_url=PAGE,
        enable_scripted_prompts=False,
        **STARTS_TASKS,
    )
    Caller(off, BOT_USER).project(private)
    sender = WebhookSender(off)
    deliver_comment(sender, comment("/async-code agent=scripted script:\nwrite a.txt x"))
    started(sender, 0)
    eventually(lambda: sender.tasks[0].status in TERMINAL_STATUSES)
    assert sender.tasks[0].changed_files == ["AI_GENERATED.md"]
