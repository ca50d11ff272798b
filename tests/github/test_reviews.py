"""Reviews of pull requests, and comments on lines of their changes."""

from __future__ import annotations

from uuid import uuid4

import pytest
from flask import Flask

from tests.fakes.github.service import FakeGitHub
from tests.support.github.app import Caller
from tests.support.github.names import LOGIN, NAME

PULL = f"/repos/{NAME}/pulls/1"
PATH = "two.txt"
OTHER, OTHER_TOKEN = "bob", "ghp_bobs_own_token"


@pytest.fixture
def reviewer(github_app: Flask, author: Caller, github: FakeGitHub) -> Caller:
    """Provide another user who may write to the repository."""
    github.add_token(OTHER_TOKEN, OTHER)
    github.repositories[NAME].roles[OTHER] = "write"
    return Caller(github_app, str(uuid4()), OTHER_TOKEN)


def test_a_line_is_commented_on_answered_and_listed(author: Caller, reviewer: Caller) -> None:
    head = author.call("GET", PULL)["pull_request"]["head_sha"]
    asked = {"path": PATH, "line": 1, "body": "Why?"}
    comment = reviewer.call("POST", f"{PULL}/comments", asked)["comment"]
    assert {name: comment[name] for name in asked} == asked
    assert (comment["author"], comment["side"], comment["commit"]) == (OTHER, "RIGHT", head)
    assert (comment["reply_to"], comment["start_line"]) == (None, None)
    answer = author.call("POST", f"{PULL}/comments/{comment['id']}/replies", {"body": "So."})
    assert (answer["comment"]["author"], answer["comment"]["reply_to"]) == (LOGIN, comment["id"])
    listed = author.call("GET", f"{PULL}/comments")["comments"]
    assert listed == [comment, answer["comment"]]


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"line": 5_000}, (400, "line_not_in_diff")),
        ({"path": "not-changed.txt"}, (400, "line_not_in_diff")),
        ({"line": 0}, (400, "invalid_request")),
        ({"side": "MIDDLE"}, (400, "invalid_request")),
        ({"commit": "main"}, (400, "invalid_request")),
        ({"body": "/async-code do it"}, (400, "invalid_request")),
    ],
)
def test_what_cannot_be_commented_on_is_refused(
    reviewer: Caller, changes: dict[str, object], refusal: tuple[int, str]
) -> None:
    body = {"path": PATH, "line": 1, "body": "Why?", **changes}
    assert reviewer.refusal("POST", f"{PULL}/comments", body) == refusal


def test_an_answer_to_no_comment_is_not_found(author: Caller) -> None:
    answer = author.refusal("POST", f"{PULL}/comments/77/replies", {"body": "Yes."})
    assert answer == (404, "comment_not_found")


def test_reviews_are_submitted_and_listed(author: Caller, reviewer: Caller) -> None:
    events = {"comment": "commented", "request_changes": "changes_requested", "approve": "approved"}
    for event, state in events.items():
        body = {"event": event} if event == "approve" else {"event": event, "body": "See above."}
        review = reviewer.call("POST", f"{PULL}/reviews", body)["review"]
        assert (review["state"], review["author"]) == (state, OTHER)
    listed = author.call("GET", f"{PULL}/reviews")["reviews"]
    assert [review["state"] for review in listed] == list(events.values())
    assert listed[-1]["submitted_at"].endswith("Z")


def test_reviews_that_github_or_we_do_not_take_are_refused(author: Caller) -> None:
    for event in ("approve", "request_changes"):
        body = {"event": event, "body": "Mine."}
        assert author.refusal("POST", f"{PULL}/reviews", body) == (409, "review_refused")
    assert author.refusal("POST", f"{PULL}/reviews", {"event": "comment"}) == (
        400,
        "invalid_request",
    )
