"""Pushes of captured tasks to a git server that wants a token."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.backends import Backend, Repository, Row, git, run
from tests.git_server import GitServer
from utils.branch_push import Pushed, PushLimits, PushRequest, push_branch
from utils.branch_push_commit import CommitText, Identity
from utils.redaction import Redactor

TOKEN = "pushing/token+5b1e7d90"
AGENT = Identity("Agent Ångström", "agent@example.org")
PERSON = Identity("Person", "person@example.org")
FINISHED_AT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
FORMAT_PATCH = (
    "format-patch", "--stdout", "--no-stat", "--no-signature", "--binary", "--full-index",
    "--find-renames",
)  # fmt: skip


def open_to_partial_clones(bare: Path) -> None:
    """Have a repository answer as GitHub's do, and be as strict about what it takes."""
    git(bare, "config", "uploadpack.allowFilter", "true")
    git(bare, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(bare, "config", "receive.fsckObjects", "true")


def request_of(url: str, task: Row, **changes: Any) -> PushRequest:
    """Return the request that puts a task's result on a branch of its own."""
    request = PushRequest(
        repo_url=url,
        base_branch="main",
        base_commit=task["execution_metadata"]["base_commit"],
        tree_hash=task["execution_metadata"]["tree_hash"],
        patch=task["git_patch"] or "",
        branch=f"async-code/task-{task['id']}",
        text=CommitText("feat: change\n\nWhat was asked for.", AGENT, PERSON, FINISHED_AT),
        token=TOKEN,
    )
    return replace(request, **changes)


def result_of(repository: Repository, script: str) -> Row:
    """Return what is stored of a task that leaves what a script commits; the branch stays."""
    base = repository.head
    repository.commit(script)
    patch = run(["git", *FORMAT_PATCH, f"{base}..HEAD"], repository.folder).decode()
    tree = git(repository.folder, "rev-parse", "HEAD^{tree}")
    git(repository.folder, "reset", "--quiet", "--hard", base)
    metadata = {"base_commit": base, "tree_hash": tree}
    return {"id": 1, "git_patch": patch, "execution_metadata": metadata}


def push(folder: Path, request: PushRequest, **changes: Any) -> Pushed:
    """Push from below a folder, in which nothing may stay."""
    work = folder / "pushes"
    limits = PushLimits(work, 30.0, {"PATH": os.environ["PATH"]})
    try:
        return push_branch(request, replace(limits, **changes), Redactor())
    finally:
        assert list(work.iterdir()) == []


def tree_on(server: GitServer, name: str, branch: str) -> str:
    """Return the tree of a branch on the server."""
    return git(server.bare(name), "rev-parse", f"refs/heads/{branch}^{{tree}}")


def captured(shell: Backend, script: str, repository: Repository) -> Row:
    """Return the stored row of a task that ran a script and changed something."""
    task = shell.complete(script, repository)
    assert task["git_patch"], task["execution_metadata"]
    return task
