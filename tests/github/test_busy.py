"""Many requests while GitHub is slow."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import uuid4

import pytest

from tests.conftest import MakeApp
from tests.fakes.github.service import FakeGitHub
from tests.fakes.github.state import App
from tests.support.github.app import BOT_USER, SERVER_TOKEN, STARTS_TASKS, Caller, WebhookSender
from tests.support.github.comments import comment, deliver_comment
from tests.support.github.keys import PERMISSIONS, app_key, pem, public_pem
from tests.support.github.names import NAME, TOKEN
from tests.support.waiting import eventually

REPOSITORY = f"/repos/{NAME}"


@contextmanager
def slow(github: FakeGitHub, on: str) -> Iterator[None]:
    """Have GitHub not answer until the block ends."""
    github.fail("hang", on=on)
    try:
        yield
    finally:
        github.failing.clear()
        github.released.set()


@pytest.fixture(autouse=True)
def _holding(github: FakeGitHub) -> Iterator[None]:
    github.released.clear()
    yield
    github.released.clear()


def test_requests_that_wait_for_github_leave_threads_for_others(
    make_app: MakeApp, github: FakeGitHub
) -> None:
    app = make_app(github_api_url=github.api_url, http_threads=2)
    first, second = (Caller(app, str(uuid4()), TOKEN) for _ in range(2))
    with ThreadPoolExecutor(1) as threads:
        with slow(github, on=f"GET {REPOSITORY}"):
            waiting = threads.submit(first.ask, "GET", REPOSITORY)
            eventually(lambda: bool(github.requests))
            for path in (REPOSITORY, f"{REPOSITORY}/pulls"):
                answer = second.ask("GET", path)
                assert (answer.status_code, answer.get_json()["code"]) == (503, "github_busy")
                assert int(answer.headers["Retry-After"]) > 0
        waiting.result()
    assert len({request.path for request in github.requests}) == 1
    assert second.call("GET", REPOSITORY)["repository"]["full_name"] == NAME


def test_comments_share_the_same_limit(
    make_app: MakeApp, github: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    github.add_token(SERVER_TOKEN, "server")
    github.repositories[NAME].roles["server"] = "write"
    app = make_app(github_api_url=github.api_url, http_threads=2, **STARTS_TASKS)
    caller, hook = Caller(app, BOT_USER, TOKEN), WebhookSender(app)
    caller.project(github)
    caller.call("POST", f"{REPOSITORY}/issues", {"title": "It breaks"})
    payload = comment("/async-code Fix it")
    with ThreadPoolExecutor(2) as threads:
        with slow(github, on=f"GET {REPOSITORY}"):
            waiting = threads.submit(caller.ask, "GET", REPOSITORY)
            eventually(lambda: f"GET {REPOSITORY}" in github.paths())
            with monkeypatch.context() as patch:
                patch.setattr("utils.webhooks.comments._SLOT_SECONDS", 0.05)
                assert hook.refusal("issue_comment", payload) == (503, "github_busy")
            later = threads.submit(deliver_comment, WebhookSender(app), payload)
        waiting.result()
        assert later.result().endswith(" is queued.")
    assert len(hook.tasks) == 1


def test_who_waits_too_long_for_the_apps_token_is_told(
    make_app: MakeApp, github: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = app_key()
    github.apps["4711"] = App("4711", public_pem(key), {NAME: 77}, PERMISSIONS)
    app = make_app(
        github_api_url=github.api_url, github_app_id="4711", github_app_private_key=pem(key)
    )
    first, second = (Caller(app, str(uuid4())) for _ in range(2))
    for caller in (first, second):
        caller.task(github)
    monkeypatch.setattr("utils.github.app._WAIT_SECONDS", 0.05)
    with ThreadPoolExecutor(1) as threads:
        with slow(github, on="/installation"):
            waiting = threads.submit(first.ask, "GET", REPOSITORY)
            eventually(lambda: bool(github.requests))
            answer = second.ask("GET", REPOSITORY)
            assert (answer.status_code, answer.get_json()["code"]) == (503, "github_busy")
            assert int(answer.headers["Retry-After"]) > 0
        waiting.result()
    assert second.call("GET", REPOSITORY)["repository"]["full_name"] == NAME
