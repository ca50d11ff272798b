"""Comments that are delivered more than once, also because something failed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tests.fakes.github.service import FakeGitHub
from tests.support.database.broken import broken
from tests.support.github.app import WebhookSender
from tests.support.github.comments import answers, comment, deliver_comment, started
from tests.support.github.names import NAME
from utils.webhooks.delivery import ALREADY_PROCESSED


def test_a_delivery_starts_one_task_however_often_it_comes(
    github: FakeGitHub, hook: WebhookSender
) -> None:
    before = len(hook.tasks)
    delivery = str(uuid4())
    payload = comment("/async-code Fix it")
    with ThreadPoolExecutor(3) as threads:
        messages = list(
            threads.map(
                lambda _: deliver_comment(WebhookSender(hook.app), payload, delivery), range(3)
            )
        )
    assert messages.count(ALREADY_PROCESSED) == 2
    assert deliver_comment(hook, payload, delivery) == ALREADY_PROCESSED
    started(hook, before)
    assert len(answers(github)) == 1


@pytest.mark.parametrize("body", ["/async-code Fix it", "/async-code"])
def test_a_comment_that_two_webhooks_deliver_is_followed_once(
    github: FakeGitHub, hook: WebhookSender, body: str
) -> None:
    before = len(hook.tasks)
    payload = comment(body)
    with ThreadPoolExecutor(2) as threads:
        messages = list(
            threads.map(lambda _: deliver_comment(WebhookSender(hook.app), payload), range(2))
        )
    assert messages.count(ALREADY_PROCESSED) == 1
    github.requests.clear()
    assert deliver_comment(hook, payload) == ALREADY_PROCESSED
    assert github.requests == []
    assert len(hook.tasks) == before + (body != "/async-code")
    assert len(answers(github)) == 1


@pytest.mark.parametrize("lost", ["INSERT ON tasks", "INSERT ON webhook_deliveries"])
@pytest.mark.parametrize("body", ["/async-code Fix it", "/async-code"])
def test_a_comment_that_the_database_failed_for_may_come_again(
    github: FakeGitHub, hook: WebhookSender, body: str, lost: str
) -> None:
    before = len(hook.tasks)
    payload = comment(body)
    starts = body != "/async-code"
    with broken(hook.app, lost):
        if starts or "deliveries" in lost:
            assert hook.refusal("issue_comment", payload)[0] == 500
            assert (len(hook.tasks), answers(github)) == (before, [])
    deliver_comment(hook, payload)
    assert len(hook.tasks) == before + starts
    assert len(answers(github)) == 1


def test_a_delivery_that_failed_may_come_again(github: FakeGitHub, hook: WebhookSender) -> None:
    before = len(hook.tasks)
    delivery = str(uuid4())
    payload = comment("/async-code Fix it")
    for path in ("/permission", f"GET /repos/{NAME}$"):
        github.fail("unavailable", on=path)
        refused = hook.refusal("issue_comment", payload, delivery)
        assert refused == (503, "github_unavailable")
        github.failing.clear()
    assert len(hook.tasks) == before
    deliver_comment(hook, payload, delivery)
    started(hook, before)


def test_a_task_stays_started_when_the_answer_cannot_be_given(
    github: FakeGitHub, hook: WebhookSender
) -> None:
    before = len(hook.tasks)
    delivery = str(uuid4())
    payload = comment("/async-code Fix it")
    github.fail("unavailable", on="/comments")
    deliver_comment(hook, payload, delivery)
    assert deliver_comment(hook, payload, delivery) == ALREADY_PROCESSED
    started(hook, before)
