"""Pushes of captured tasks to a git server that wants a token."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from tests.support.backends import Backend, Repository, Row, git, run
from tests.support.git_server import GitServer
from utils.push.commit import CommitText, Identity
from utils.push.push import Pushed, PushLimits, PushRequest, push_branch
from utils.redaction import Redactor

TOKEN = "pushing/token+5b1e7d90"
AGENT = Identity("Agent Ångström", "agent@example.org")
PERSON = Identity("Person", "person@example.org")
FINISHED_AT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
FORMAT_PATCH = (
    "format-patch", "--stdout", "--no-stat", "--no-signature", "--binary", "--full-index",
    "--find-renames",
)  # fmt: skip
AMPLE_SECONDS = 60.0
"""How long a push may take that is not meant to run out of time, on however slow a machine."""

_numbers = count(1)


def open_to_partial_clones(bare: Path) -> None:
    """Have a repository answer as GitHub's do, and be as strict about what it takes."""
    git(bare, "config", "uploadpack.allowFilter", "true")
    git(bare, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(bare, "config", "receive.fsckObjects", "true")
    # Of two pushes at once, one waits for the other's lock; the disk under it may be slow.
    git(bare, "config", "core.filesRefLockTimeout", "20000")


def bare_copy(repository: Repository, folder: Path) -> Path:
    """Make a folder a bare copy of a repository, to push to without a server."""
    git(repository.folder, "clone", "--quiet", "--bare", ".", str(folder))
    open_to_partial_clones(folder)
    return folder


def publish(server: GitServer, repository: Repository, name: str) -> str:
    """Serve a copy of a repository that wants the token; return its URL."""
    url = server.publish(repository, name, TOKEN)
    open_to_partial_clones(server.bare(name))
    return url


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


def local_request(bare: Path, task: Row) -> PushRequest:
    """Return the request for a repository on this machine, which needs no token."""
    return request_of(f"file://{bare}", task, token=None)


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
    work.mkdir(parents=True, exist_ok=True)
    limits = PushLimits(work, AMPLE_SECONDS, {"PATH": os.environ["PATH"]})
    try:
        return push_branch(request, replace(limits, **changes), Redactor())
    finally:
        assert list(work.iterdir()) == []


class Target:
    """A repository on a git server, and the request that pushes a task's result to it."""

    def __init__(self, server: GitServer, origin: Repository, task: Row, folder: Path) -> None:
        self.server = server
        # Of its own, as what the server does to a repository goes by the name.
        self.name = f"target{next(_numbers)}"
        self.request = request_of(publish(server, origin, self.name), task)
        self.bare = server.bare(self.name)
        self._folder = folder

    def push(self, request: PushRequest | None = None, **limits: Any) -> Pushed:
        """Push what is requested, if not told the result as it is."""
        return push(self._folder, request or self.request, **limits)

    def add_hook(self, name: str, program: str) -> None:
        """Have the server run a program at a moment of each push."""
        hook = self.bare / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(program)
        hook.chmod(0o755)

    @property
    def head(self) -> str:
        """The commit that the branch is at."""
        return git(self.bare, "rev-parse", f"refs/heads/{self.request.branch}")

    @property
    def tree(self) -> str:
        """The tree that the branch is at."""
        return tree_on(self.server, self.name, self.request.branch)

    @property
    def asked(self) -> list[tuple[str, str, str | None]]:
        """What came for the repository so far: verb, path and authorization."""
        start = f"/team/{self.name}.git/"
        return [one for one in self.server.requests if one[1].startswith(start)]


def tree_on(server: GitServer, name: str, branch: str) -> str:
    """Return the tree of a branch on the server."""
    return git(server.bare(name), "rev-parse", f"refs/heads/{branch}^{{tree}}")


def captured(shell: Backend, script: str, repository: Repository) -> Row:
    """Return the stored row of a task that ran a script and changed something."""
    task = shell.complete(script, repository)
    assert task["git_patch"], task["execution_metadata"]
    return task
