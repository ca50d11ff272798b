"""Users clone, commit, push and open pull requests from their sandboxes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sandbox_service.api import Json, Sandboxes
from tests.support.backends import git
from tests.support.github.names import TOKEN
from tests.support.pull_requests import Hosted

BASE = "main"


class Clone:
    """A clone of a repository of the fake GitHub in a sandbox."""

    def __init__(self, hosted: Hosted) -> None:
        self.hosted = hosted
        self.sandboxes = Sandboxes(hosted.backend.app)
        self.box = self.sandboxes.create(repo_url=hosted.url, name="mine", github_token=TOKEN)

    def run(self, command: str) -> str:
        """Run a command in the clone."""
        return self.sandboxes.output(self.box, command, cwd="mine")

    def get(self, what: str, name: str = "mine") -> Json:
        """Ask for something of the clone."""
        reply = self.sandboxes.send("GET", f"/{self.box}/git/{name}/{what}")
        assert reply.status == 200, reply
        return reply.json

    def post(self, what: str, **body: object) -> Json:
        """Do something with the clone; return any answer."""
        reply = self.sandboxes.send("POST", f"/{self.box}/git/{what}", json=body)
        return {**reply.json, "http_status": reply.status}


@pytest.fixture
def clone(hosted: Hosted) -> Iterator[Clone]:
    opened = Clone(hosted)
    yield opened
    opened.sandboxes.end(opened.box)


def test_changes_become_a_pull_request_once_and_no_token_enters_the_sandbox(
    clone: Clone,
) -> None:
    clone.run("echo more >>one.txt; echo new >'a b'; printf '\\0\\1' >binary")
    status = clone.get("status")
    assert status["branch"] == BASE
    assert {(one["path"], one["state"]) for one in status["files"]} == {
        ("one.txt", ".M"),
        ("a b", "??"),
        ("binary", "??"),
    }
    refused = clone.post("mine/commit", message="Change it", conventional=True)
    assert (refused["http_status"], refused["code"]) == (400, "title_not_conventional")
    made = clone.post("mine/commit", message="feat: change it\n\nA text", conventional=True)
    assert made["http_status"] == 200, made
    assert clone.run("git rev-parse HEAD").strip() == made["commit"]
    assert clone.get("log")["commits"][0]["subject"] == "feat: change it"
    assert clone.post("mine/commit", message="Again")["code"] == "no_changes"
    assert sorted(clone.get("diff")["changed_files"]) == ["a b", "binary", "one.txt"]

    asked = {"branch": "topic/one", "message": "feat: change it", "github_token": TOKEN}
    first = clone.post("mine/pr", title="Change it", **asked)
    assert (first["http_status"], first.get("is_new")) == (200, True), first
    again = clone.post("mine/pr", title="Change it", **asked)
    assert (again["pr_number"], again["is_new"]) == (first["pr_number"], False)
    assert again["commit"] == first["commit"] == clone.hosted.rev("topic/one")
    assert len(clone.hosted.pulls) == 1
    tree = clone.run("git rev-parse HEAD^{tree}").strip()
    assert clone.hosted.rev("topic/one^{tree}") == tree
    assert clone.hosted.rev("topic/one^") == clone.hosted.rev(BASE)

    clone.run("echo late >late")
    pushed = clone.post("mine/push", **asked)
    assert pushed["commit"] == clone.hosted.rev("topic/one") != first["commit"]
    assert "late" in git(clone.hosted.bare, "ls-tree", "--name-only", "topic/one")
    assert TOKEN not in str(clone.sandboxes.row(clone.box))
    assert TOKEN not in str(clone.sandboxes.send("GET", f"/{clone.box}/operations").json)
    assert clone.sandboxes.output(clone.box, f"grep -rl {TOKEN} . || true") == ""


@pytest.mark.cloud_with_all("git runs there like other commands")
def test_what_others_have_pushed_is_not_overwritten(clone: Clone) -> None:
    clone.run("echo more >>one.txt")
    asked = {"branch": "topic/two", "message": "Change", "github_token": TOKEN}
    assert clone.post("mine/push", **asked)["http_status"] == 200
    theirs = clone.hosted.commit_by_hand("topic/two")
    clone.run("echo again >>one.txt")
    refused = clone.post("mine/push", **asked)
    assert (refused["http_status"], refused["code"]) == (409, "branch_changed")
    assert clone.hosted.rev("topic/two") == theirs
    assert clone.post("mine/push", **{**asked, "branch": BASE})["code"] == "branch_changed"


@pytest.mark.cloud_with_all("git runs there like other commands")
def test_a_sandbox_has_several_repositories_each_under_its_name(clone: Clone) -> None:
    url = clone.hosted.url
    twice = clone.post("clone", repo_url=url, name="mine", github_token=TOKEN)
    assert (twice["http_status"], twice["code"]) == (409, "repository_exists")
    other = clone.post("clone", repo_url=url, name="other", branch=BASE, github_token=TOKEN)
    assert (other["http_status"], other["repository"]["name"]) == (201, "other")
    created = clone.post("other/branch", branch="topic")
    assert created["commit"] == clone.hosted.rev(BASE)
    assert clone.get("status", "other")["branch"] == "topic"
    assert clone.get("status", "mine")["branch"] == BASE
    assert clone.post("other/branch", branch=BASE)["http_status"] == 200
    assert clone.get("status", "other")["branch"] == BASE
    assert clone.post("other/branch", branch="--force")["code"] == "invalid_branch"
    missing = clone.sandboxes.send("GET", f"/{clone.box}/git/none/status")
    assert (missing.status, missing.json["code"]) == (404, "not_found")
    for name in ("..", ".git", "-x", "a/b"):
        assert clone.post("clone", repo_url=url, name=name)["http_status"] == 400
