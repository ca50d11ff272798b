"""A push to the default branch has the next task of a project prepare its sandbox again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask

from tests.conftest import MakeApp
from tests.fakes.github.service import FakeGitHub
from tests.support.backends import Repository
from tests.support.git.server import serve_git
from tests.support.github.app import SECRET, Caller, WebhookSender, services_of
from tests.support.github.names import NAME, TOKEN
from tests.support.waiting import eventually
from utils.webhooks.delivery import ALREADY_PROCESSED

FIRST, SECOND = "1" * 40, "2" * 40


@pytest.fixture(scope="module")
def app(make_app: MakeApp, github_server: FakeGitHub) -> Flask:
    """Provide an application that accepts deliveries."""
    return make_app(github_api_url=github_server.api_url, github_webhook_secret=SECRET)


@pytest.fixture
def hook(app: Flask) -> WebhookSender:
    """GitHub's side of its webhook."""
    return WebhookSender(app)


@pytest.fixture
def _served(github: FakeGitHub, origin: Repository, tmp_path: Path) -> Iterator[None]:
    with serve_git(tmp_path / "served") as served:
        served.publish(origin, "demo", TOKEN)
        github.git_port = served.port
        github.repositories[NAME].bare = served.bare("demo")
        yield


def pushed(commit: str = FIRST, ref: str = "refs/heads/main", **changes: Any) -> dict[str, Any]:
    """Return the event of a push."""
    facts = {"id": 1, "full_name": NAME, "default_branch": "main"}
    return {"ref": ref, "after": commit, "deleted": False, "repository": facts, **changes}


class Prepared:
    """A project with a setup."""

    def __init__(self, app: Flask, github: FakeGitHub, form: str = "{}") -> None:
        self.caller = Caller(app, str(uuid4()), TOKEN)
        self.address = form.format(f"{github.url}/{NAME}")
        body = {
            "name": "P",
            "repo_url": self.address,
            "settings": {"environment": {"setup": "echo made > made"}},
        }
        client, headers = self.caller.client, self.caller.headers
        made = client.post("/projects", json=body, headers=headers).get_json()
        self.id = made["project"]["id"]

    def runs_setup(self) -> bool:
        """Complete a task; tell whether its setup ran."""
        client, headers = self.caller.client, self.caller.headers
        body = {
            "prompt": "Hello",
            "repo_url": self.address,
            "project_id": self.id,
            "github_token": TOKEN,
        }
        task_id = client.post("/start-task", json=body, headers=headers).get_json()["task_id"]

        def ended() -> bool:
            answer = client.get(f"/task-status/{task_id}", headers=headers).get_json()
            assert answer["task"]["status"] != "failed", answer
            return bool(answer["task"]["status"] == "completed")

        eventually(ended)
        database = services_of(self.caller.app).database
        events = database.list_events(self.caller.user, task_id)
        return any(event.kind == "setup" for event in events)


@pytest.mark.usefixtures("_served")
def test_a_push_to_the_default_branch_refreshes_the_snapshots_of_all_its_projects(
    app: Flask, github: FakeGitHub, hook: WebhookSender
) -> None:
    projects = [Prepared(app, github), Prepared(app, github, "{}.git")]
    assert [one.runs_setup() for one in projects] == [True, True]
    assert [one.runs_setup() for one in projects] == [False, False]
    message = hook.message("push", pushed(), str(uuid4()))
    assert message == "The next task runs the setup again; projects of the repository: 2."
    assert [one.runs_setup() for one in projects] == [True, True]
    assert [one.runs_setup() for one in projects] == [False, False]


@pytest.mark.usefixtures("_served")
def test_only_the_newest_signed_push_to_the_default_branch_counts(
    app: Flask, github: FakeGitHub, hook: WebhookSender
) -> None:
    project, first = Prepared(app, github), str(uuid4())
    hook.message("push", pushed(FIRST), first)
    hook.message("push", pushed(SECOND), str(uuid4()))
    assert project.runs_setup()
    assert hook.message("push", pushed(FIRST), first) == ALREADY_PROCESSED
    ignored = [
        pushed(ref="refs/heads/topic"),
        pushed(ref="refs/tags/main"),
        pushed("0" * 40, deleted=True),
    ]
    for event in ignored:
        assert hook.message("push", event, str(uuid4())) == "This event was ignored."
    assert hook.refusal("push", pushed("3" * 40), X_Hub_Signature_256="sha256=" + "0" * 64) == (
        403,
        "signature_invalid",
    )
    other = {"full_name": "team/other", "default_branch": "main"}
    assert "no project" in hook.message("push", pushed(repository=other), str(uuid4()))
    assert not project.runs_setup()


@pytest.mark.parametrize("commit", ["", "main", "0" * 39, "0" * 41, "A" * 40, "a" * 40 + "\n"])
def test_a_push_without_a_commit_is_refused(hook: WebhookSender, commit: str) -> None:
    assert hook.refusal("push", pushed(commit), str(uuid4())) == (400, "invalid_request")
