"""The checks of a pull request, and what its merge lacks."""

from __future__ import annotations

from uuid import uuid4

import pytest
from flask import Flask

from tests.fakes.github.service import FakeGitHub
from tests.fakes.github.state import Json, Repository
from tests.support.github.app import Caller
from tests.support.github.names import NAME

PULL = f"/repos/{NAME}/pulls/1"


@pytest.fixture
def repository(github: FakeGitHub) -> Repository:
    return github.repositories[NAME]


def merge_state(author: Caller) -> Json:
    state: Json = author.call("GET", f"{PULL}/checks")["merge_state"]
    return state


def run(name: str, conclusion: str | None) -> Json:
    return {
        "id": 1,
        "name": name,
        "status": "completed" if conclusion else "in_progress",
        "conclusion": conclusion,
        "html_url": f"https://ci.example/{name}",
    }


def test_a_pull_request_without_rules_lacks_nothing(author: Caller) -> None:
    state = merge_state(author)
    assert (state["checks"], state["missing"], state["required_approvals"]) == ([], [], 0)
    assert state["head_sha"] == author.call("GET", PULL)["pull_request"]["head_sha"]


def test_what_a_merge_lacks_is_told_in_words(author: Caller, repository: Repository) -> None:
    head = author.call("GET", PULL)["pull_request"]["head_sha"]
    repository.rules["main"] = [
        {"type": "deletion"},
        {"type": "pull_request", "parameters": {"required_approving_review_count": 2}},
        {
            "type": "required_status_checks",
            "parameters": {"required_status_checks": [{"context": "build"}, {"context": "lint"}]},
        },
    ]
    repository.required_checks["main"] = ["docs", "old", "build"]
    repository.check_runs[head] = [
        run("build", "failure"),
        run("lint", None),
        run("old", "skipped"),
    ]
    repository.statuses[head] = [{"context": "extra", "state": "error"}]
    state = merge_state(author)
    assert [(one["name"], one["state"], one["is_required"]) for one in state["checks"]] == [
        ("build", "failure", True),
        ("lint", "pending", True),
        ("old", "skipped", True),
        ("extra", "failure", False),
    ]
    assert state["missing"] == [
        "the check build has failed",
        "the check lint has not ended",
        "the check docs has not run",
        "0 of 2 approving reviews",
    ]
    repository.protected["main"] = 'Required status check "build" is failing.'
    answer = author.ask("POST", f"{PULL}/merge", {})
    assert (answer.status_code, answer.get_json()["code"]) == (409, "branch_protected")
    assert "Missing: the check build has failed; " in answer.get_json()["error"]


def test_only_the_last_decision_of_each_reviewer_counts(
    github_app: Flask, author: Caller, github: FakeGitHub, repository: Repository
) -> None:
    parameters = {"required_approving_review_count": 1}
    repository.rules["main"] = [{"type": "pull_request", "parameters": parameters}]
    github.add_token("ghp_carols_own_token", "carol")
    carol = Caller(github_app, str(uuid4()), "ghp_carols_own_token")
    for event, missing in (
        ("request_changes", ["0 of 1 approving reviews", "changes were requested by carol"]),
        ("comment", ["0 of 1 approving reviews", "changes were requested by carol"]),
        ("approve", []),
    ):
        carol.call("POST", f"{PULL}/reviews", {"event": event, "body": "Text."})
        assert merge_state(author)["missing"] == missing
    assert merge_state(author)["approvals"] == 1


def test_rules_that_cannot_be_read_are_left_out(author: Caller, github: FakeGitHub) -> None:
    for path in ("/rules/branches/", "/branches/main"):
        github.fail("other_403", on=path)
    assert merge_state(author)["missing"] == []
