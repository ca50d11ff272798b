"""Webhook deliveries: their effects, and refusals of those that GitHub did not send."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from pydantic import ValidationError

from tests.conftest import MakeApp
from tests.fakes.github.service import FakeGitHub
from tests.support.github.app import (
    BOT_USER,
    PAGE,
    SECRET,
    SERVER_TOKEN,
    Caller,
    WebhookSender,
    signature,
)
from tests.support.github.names import NAME
from tests.support.github.pulls import ended
from utils.config.settings import Settings, explain_settings
from utils.webhooks.delivery import ALREADY_PROCESSED, MAX_READ_BYTES

URL = "https://github.example/team/demo/pull/7"
WHOLE: dict[str, Any] = {
    "webhook_tasks": True,
    "webhook_user_id": BOT_USER,
    "github_webhook_secret": SECRET,
    "github_token": SERVER_TOKEN,
}


@pytest.fixture(scope="module")
def app(make_app: MakeApp, github_server: FakeGitHub) -> Flask:
    """Provide an application that accepts deliveries."""
    return make_app(github_api_url=github_server.api_url, public_url=PAGE, **WHOLE)


@pytest.fixture
def hook(app: Flask) -> WebhookSender:
    """GitHub's side of its webhook."""
    return WebhookSender(app)


@pytest.fixture
def delivery() -> str:
    """Provide an unused delivery id."""
    return str(uuid4())


def test_a_ping_is_answered(hook: WebhookSender, delivery: str) -> None:
    ping = {"zen": "Design for failure.", "hook_id": 1}
    assert hook.message("ping", ping, delivery) == "The webhook works."
    assert hook.message("ping", ping, delivery) == "The webhook works."


def test_the_webhook_is_served_without_the_prefix_too(hook: WebhookSender) -> None:
    assert hook.client.post("/webhooks/github").status_code == 403
    assert hook.client.get("/api/webhooks/github").status_code == 405


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "sha256=",
        "sha256=" + "0" * 64,
        "sha1=" + "0" * 40,
        signature(b"{}").removeprefix("sha256="),
        signature(b"{} "),
        signature(b"{}", "another secret"),
        signature(b"{}").upper(),
        signature(b"{}") + "\xe9",
    ],
)
def test_only_what_is_signed_is_taken(hook: WebhookSender, given: str | None) -> None:
    refused = hook.refusal("ping", b"{}", X_Hub_Signature_256=given)
    assert refused == (403, "signature_invalid")


def test_the_signature_is_of_the_very_bytes(hook: WebhookSender) -> None:
    body = b'{"zen":  "\\u00e9 \xc3\xa9"}\n'
    assert hook.send("ping", body).status_code == 200
    assert hook.refusal("ping", body + b"\n", X_Hub_Signature_256=signature(body))[0] == 403


def test_without_a_secret_nothing_is_taken(secure_app: Flask) -> None:
    hook = WebhookSender(secure_app)
    for secret in ("", "None", SECRET):
        answer = hook.send("ping", b"{}", X_Hub_Signature_256=signature(b"{}", secret))
        assert (answer.status_code, answer.get_json()["code"]) == (403, "webhook_secret_missing")
    assert "GITHUB_WEBHOOK_SECRET" in answer.get_json()["error"]


def test_another_content_type_is_refused_with_what_to_set(hook: WebhookSender) -> None:
    form = b"payload=%7B%7D"
    answer = hook.send("ping", form, Content_Type="application/x-www-form-urlencoded")
    assert (answer.status_code, answer.get_json()["code"]) == (415, "unsupported_media_type")
    assert "content type of the webhook" in answer.get_json()["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {"X_GitHub_Delivery": None},
        {"X_GitHub_Delivery": "a b"},
        {"X_GitHub_Delivery": "a" * 65},
        {"X_GitHub_Event": None},
    ],
)
def test_a_delivery_says_what_it_is(hook: WebhookSender, headers: dict[str, Any]) -> None:
    assert hook.refusal("ping", b"{}", **headers) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"action": "\xff"}', "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b"[]", "invalid_request"),
        (b"null", "invalid_request"),
        (b'{"action": 1}', "invalid_request"),
        (b'{"action": "closed", "pull_request": null}', "invalid_request"),
        (b'{"action": "closed", "pull_request": {"html_url": 7, "state": "closed"}}', ""),
        (b'{"action": "closed", "pull_request": {"html_url": "x", "state": "gone"}}', ""),
    ],
)
@pytest.mark.parametrize("event", ["pull_request", "issue_comment", "push"])
def test_odd_json_is_refused(hook: WebhookSender, event: str, body: bytes, code: str) -> None:
    status, message = hook.refusal(event, body)
    assert (status, message) == (400, code or "invalid_request")


def test_a_body_above_the_servers_limit_for_others_is_taken(hook: WebhookSender) -> None:
    padded = {**ended("closed", URL), "rest": "x" * 2_000_000}
    assert hook.message("pull_request", padded) == "This pull request belongs to no task."
    assert hook.message("star", {"rest": "x" * (MAX_READ_BYTES + 1)}).startswith(
        "This event was ignored"
    )
    padded["rest"] = "x" * MAX_READ_BYTES
    assert hook.refusal("pull_request", padded) == (413, "body_too_large")
    refused = hook.send("star", b"x" * (25 * 1024 * 1024 + 1))
    assert refused.status_code == 413


@pytest.mark.parametrize("event", ["create", "star", "issues", "pull_request_review"])
def test_other_events_are_ignored(hook: WebhookSender, event: str) -> None:
    assert hook.message(event, {"action": "created"}) == "This event was ignored."


def test_what_became_of_a_pull_request_is_noted_with_its_tasks(
    app: Flask, github: FakeGitHub, hook: WebhookSender
) -> None:
    callers = [Caller(app, str(uuid4())) for _ in range(2)]
    url = f"{URL}{uuid4().int}"
    tasks = [(who, who.task(github, pr_url=url, pr_state="open")) for who in callers]
    other = callers[0].task(github, pr_url=f"{url}0", pr_state="open")
    for payload, state in (
        (ended("closed", url), "closed"),
        (ended("synchronize", url), "closed"),
        (ended("reopened", url), "open"),
        (ended("closed", url, merged=True), "merged"),
    ):
        hook.message("pull_request", payload, str(uuid4()))
        assert [who.state(task_id) for who, task_id in tasks] == [state, state]
    assert callers[0].state(other) == "open"
    assert {*github.paths()} == {f"GET /repos/{NAME}/pulls/7"}


def test_a_delivery_that_comes_again_changes_nothing(
    app: Flask, github: FakeGitHub, hook: WebhookSender, delivery: str
) -> None:
    caller = Caller(app, str(uuid4()))
    url = f"{URL}{uuid4().int}"
    # Before there is such a task nothing is done, so the same delivery may come again.
    hook.message("pull_request", ended("closed", url), delivery)
    task_id = caller.task(github, pr_url=url, pr_state="open")
    hook.message("pull_request", ended("closed", url), delivery)
    assert caller.state(task_id) == "closed"
    hook.message("pull_request", ended("reopened", url), str(uuid4()))
    again = hook.message("pull_request", ended("closed", url), delivery)
    assert (again, caller.state(task_id)) == (ALREADY_PROCESSED, "open")


def test_a_forged_delivery_uses_up_no_id(
    app: Flask, github: FakeGitHub, hook: WebhookSender, delivery: str
) -> None:
    caller = Caller(app, str(uuid4()))
    url = f"{URL}{uuid4().int}"
    task_id = caller.task(github, pr_url=url, pr_state="open")
    forged = {"X_Hub_Signature_256": "sha256=" + "0" * 64}
    assert hook.refusal("pull_request", ended("closed", url), delivery, **forged)[0] == 403
    assert caller.state(task_id) == "open"
    hook.message("pull_request", ended("closed", url), delivery)
    assert caller.state(task_id) == "closed"


def test_of_many_at_once_one_is_followed(
    app: Flask, github: FakeGitHub, hook: WebhookSender, delivery: str
) -> None:
    url = f"{URL}{uuid4().int}"
    Caller(app, str(uuid4())).task(github, pr_url=url, pr_state="open")

    def deliver(_number: int) -> str:
        return WebhookSender(app).message("pull_request", ended("closed", url), delivery)

    with ThreadPoolExecutor(4) as threads:
        messages = sorted(threads.map(deliver, range(4)))
    assert messages == ["The pull request is closed; tasks updated: 1.", *[ALREADY_PROCESSED] * 3]


@pytest.mark.parametrize("blank", [None, "", " ", "\t\n"])
@pytest.mark.parametrize("missing", ["webhook_user_id", "github_webhook_secret", "github_token"])
def test_comments_need_their_settings(missing: str, blank: str | None) -> None:
    assert Settings(_env_file=None, **WHOLE).webhook_tasks
    with pytest.raises(ValidationError, match=missing.upper()) as refused:
        Settings(_env_file=None, **{**WHOLE, missing: blank})
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("secret", ["guessable", f" {'x' * 15}\n"])
def test_a_secret_that_can_be_guessed_is_refused_with_what_to_do(secret: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(_env_file=None, github_webhook_secret=secret)
    said = "\n".join(explain_settings(refused.value))
    for part in ("GITHUB_WEBHOOK_SECRET", "16 characters", "openssl rand -hex 32"):
        assert part in said
    assert secret.strip() not in said


def test_blanks_around_a_secret_are_no_part_of_it(make_app: MakeApp) -> None:
    hook = WebhookSender(make_app(github_webhook_secret=f" {SECRET}\n"))
    assert hook.message("ping", {}) == "The webhook works."
    none = WebhookSender(make_app(github_webhook_secret="  "))
    refused = none.refusal("ping", b"{}", X_Hub_Signature_256=signature(b"{}", "  "))
    assert refused == (403, "webhook_secret_missing")


def test_the_user_of_comments_is_named_by_a_uuid() -> None:
    with pytest.raises(ValidationError, match="must be a UUID"):
        Settings(_env_file=None, webhook_user_id="alice")
    assert Settings(_env_file=None, webhook_user_id=BOT_USER.upper()).webhook_user_id == BOT_USER
