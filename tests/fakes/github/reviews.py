"""Answers requests for reviews of pull requests and for comments on lines of their changes."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import Any

from tests.fakes.github import refs, render
from tests.fakes.github.pulls import refresh
from tests.fakes.github.state import Call, LineComment, Pull, Refused, Review

Answer = tuple[int, Any]

_ids = count(5000)
_STATES = {
    "APPROVE": "APPROVED",
    "REQUEST_CHANGES": "CHANGES_REQUESTED",
    "COMMENT": "COMMENTED",
}


def list_comments(call: Call) -> Answer:
    pull = call.pull()
    return 200, [
        render.line_comment(call.api, call.repository, pull, one) for one in pull.line_comments
    ]


def create_comment(call: Call) -> Answer:
    pull, body = call.pull(), call.request.body
    refresh(call, pull)
    _check_line(call, pull)
    comment = LineComment(
        next(_ids), call.login, body["body"], datetime.now(UTC), body["path"], body["line"]
    )
    comment.start_line, comment.side = body.get("start_line"), body.get("side", "RIGHT")
    comment.commit = body["commit_id"]
    pull.line_comments.append(comment)
    return 201, render.line_comment(call.api, call.repository, pull, comment)


def _check_line(call: Call, pull: Pull) -> None:
    """Refuse what is not in the diff: any line of a changed file is, so far as it has so many."""
    body = call.request.body
    base = refs.branch_sha(call.repository.bare, pull.base)
    assert base
    lines = refs.changed_lines(call.repository.bare, base, pull.head_sha).get(body["path"])
    if lines is None:
        raise Refused(422, "Validation Failed", {"resource": "PullRequestReviewComment",
            "field": "pull_request_review_thread.path", "code": "invalid"})  # fmt: skip
    if body["line"] > lines:
        raise Refused(422, "Validation Failed", {"resource": "PullRequestReviewComment",
            "code": "custom", "field": "pull_request_review_thread.line",
            "message": "pull_request_review_thread.line must be part of the diff"})  # fmt: skip


def reply(call: Call) -> Answer:
    pull, number = call.pull(), int(call.names["comment"])
    first = next((one for one in pull.line_comments if one.id == number), None)
    if first is None:
        raise Refused(404, "Not Found")
    comment = LineComment(
        next(_ids), call.login, call.request.body["body"], datetime.now(UTC), first.path
    )
    comment.line, comment.side, comment.commit = first.line, first.side, first.commit
    comment.reply_to = first.id
    pull.line_comments.append(comment)
    return 201, render.line_comment(call.api, call.repository, pull, comment)


def list_reviews(call: Call) -> Answer:
    pull = call.pull()
    return 200, [render.review(call.api, call.repository, pull, one) for one in pull.reviews]


def create_review(call: Call) -> Answer:
    pull, body = call.pull(), call.request.body
    refresh(call, pull)
    event = body["event"]
    if pull.author == call.login and event != "COMMENT":
        deed = "approve" if event == "APPROVE" else "request changes on"
        raise Refused(422, "Unprocessable Entity", f"Can not {deed} your own pull request")
    review = Review(next(_ids), call.login, body.get("body") or "", datetime.now(UTC))
    review.state, review.commit = _STATES[event], pull.head_sha
    pull.reviews.append(review)
    return 200, render.review(call.api, call.repository, pull, review)
