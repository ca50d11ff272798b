"""Delivers comments on GitHub and reads their effects."""

from __future__ import annotations

from itertools import count
from typing import Any
from uuid import uuid4

from tests.fakes.github.service import FakeGitHub
from tests.support.github.app import WebhookSender
from tests.support.github.names import LOGIN, NAME
from utils.models.tasks import Task

_ids = count(1)


def comment(
    body: str | None,
    login: str = LOGIN,
    *,
    number: int = 1,
    pull: bool = False,
    app: dict[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Return the event of a comment; with `app`, of one that a GitHub App posted for that user."""
    issue: dict[str, Any] = {"number": number, "title": "It breaks"}
    return {
        "action": "created",
        "issue": issue | ({"pull_request": {"url": "x"}} if pull else {}),
        "comment": {
            "id": next(_ids),
            "body": body,
            "user": {"login": login, "type": "User"},
            "author_association": "OWNER",
            "performed_via_github_app": app,
        },
        "repository": {"full_name": NAME},
        **changes,
    }


def deliver_comment(
    hook: WebhookSender, payload: dict[str, Any], delivery: str | None = None
) -> str:
    """Deliver a comment; return the message of the response."""
    return hook.message("issue_comment", payload, delivery or str(uuid4()))


def answers(github: FakeGitHub, number: int = 1) -> list[str]:
    """Return the comments on an issue."""
    return [one.body for one in github.repositories[NAME].issues[number].comments]


def started(hook: WebhookSender, before: int) -> Task:
    """Return the single task that was started since there were `before` tasks."""
    assert len(hook.tasks) == before + 1
    return hook.tasks[0]
