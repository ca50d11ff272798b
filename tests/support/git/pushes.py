"""Pushes the results of tasks to a git server that requires a token."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from tests.support.backends import Backend, Repository, Row, git, run
from tests.support.git.server import GitServer
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
"""Timeout of pushes that must not run out of time, even on a slow machine."""

_numbers = count(1)


# Two pushes at once wait for each other's lock, and the disk may be slow.
_LIKE_GITHUB = """
[uploadpack]
    allowFilter = true
    allowAnySHA1InWant = true
[receive]
    fsckObjects = true
[core]
    filesRefLockTimeout = 20000
"""


def open_to_partial_clones(bare: Path) -> None:
    """Configure a repository like GitHub's: partial clones, and strict checks of pushed objects."""
    with (bare / "config").open("a") as config:
        config.write(_LIKE_GITHUB)


def bare_copy(repository: Repository, folder: Path) -> Path:
    """Create a bare copy of a repository in a folder, to push to without a server."""
    git(repository.folder, "clone", "--quiet", "--bare", ".", str(folder))
    open_to_partial_clones(folder)
    return folder


def publish(server: GitServer, repository: Repository, name: str) -> str:
    """Serve a copy of a repository that requires the token; return its URL."""
    url = server.publish(repository, name, TOKEN)
    open_to_partial_clones(server.bare(name))
    return url


def request_of(url: str, task: Row, **changes: Any) -> PushRequest:
    """Return the request that pushes a task's result to its own branch."""
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
    """Return a push request for a repository on this machine, which needs no token."""
    return request_of(f"file://{bare}", task, token=None)


def result_of(repository: Repository, script: str) -> Row:
    """Run a script and return the row of a task with its changes; restore the branch."""
    base = repository.head
    repository.commit(script)
    patch = run(["git", *FORMAT_PATCH, f"{base}..HEAD"], repository.folder).decode()
    tree = git(repository.folder, "rev-parse", "HEAD^{tree}")
    git(repository.folder, "reset", "--quiet", "--hard", base)
    metadata = {"base_commit": base, "tree_hash": tree}
    return {"id": 1, "git_patch": patch, "execution_metadata": metadata}


def push(folder: Path, request: PushRequest, **changes: Any) -> Pushed:
    """Push with a working folder; assert that the push leaves nothing in it."""
    work = folder / "pushes"
    work.mkdir(parents=True, exist_ok=True)
    limits = PushLimits(work, AMPLE_SECONDS, {"PATH": os.environ["PATH"]})
    try:
        return push_branch(request, replace(limits, **changes), Redactor())
    finally:
        assert list(work.iterdir()) == []


class Target:
    """A repository on a git server, with the request that pushes a task's result to it."""

    def __init__(self, server: GitServer, origin: Repository, task: Row, folder: Path) -> None:
        self.server = server
        # A unique name, because the server's faults are set by name.
        self.name = f"target{next(_numbers)}"
        self.request = request_of(publish(server, origin, self.name), task)
        self.bare = server.bare(self.name)
        self._folder = folder

    def push(self, request: PushRequest | None = None, **limits: Any) -> Pushed:
        """Send the push request, by default with the unchanged result."""
        return push(self._folder, request or self.request, **limits)

    def add_hook(self, name: str, program: str) -> None:
        """Install a git hook on the server."""
        hook = self.bare / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(program)
        hook.chmod(0o755)

    @property
    def head(self) -> str:
        """The commit of the branch."""
        return git(self.bare, "rev-parse", f"refs/heads/{self.request.branch}")

    @property
    def tree(self) -> str:
        """The tree of the branch."""
        return tree_on(self.server, self.name, self.request.branch)

    @property
    def asked(self) -> list[tuple[str, str, str | None]]:
        """The requests for the repository so far: method, path and authorization."""
        start = f"/team/{self.name}.git/"
        return [one for one in self.server.requests if one[1].startswith(start)]


def tree_on(server: GitServer, name: str, branch: str) -> str:
    """Return the tree of a branch on the server."""
    return git(server.bare(name), "rev-parse", f"refs/heads/{branch}^{{tree}}")


def captured(shell: Backend, script: str, repository: Repository) -> Row:
    """Run a script as a task that must change something; return the task's row."""
    task = shell.complete(script, repository)
    assert task["git_patch"], task["execution_metadata"]
    return task
