"""Sets up a backend, the fake GitHub and a git server, and creates pull requests of tasks."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from tests.fakes.github.server import serve_github
from tests.fakes.github.service import FakeGitHub
from tests.fakes.github.state import Pull
from tests.support.backends import (
    SHELL_AGENT,
    Backend,
    Repository,
    Row,
    git,
    open_backend,
    shell_agent,
)
from tests.support.git.pushes import open_to_partial_clones
from tests.support.git.server import GitServer, serve_git
from tests.support.github.names import LOGIN, TOKEN
from tests.support.places import Place
from tests.support.waiting import eventually
from utils.api.endpoint import Services
from utils.github.client import GitHub

SIMULATED = {"allow_simulated": True}
SCRIPT = "echo more >>one.txt; chmod +x one.txt"
NOTHING = dict.fromkeys(("pr_branch", "pr_commit", "pr_number", "pr_url", "pr_state"))
"""The columns of a task that has no pull request."""

_names = count(1)


def services_of(backend: Backend) -> Services:
    """Return the services of a backend."""
    services: Services = backend.app.extensions["services"]
    return services


class Hosted:
    """A repository on the fake GitHub, and the tasks that a backend runs in it."""

    def __init__(self, backend: Backend, github: FakeGitHub, server: GitServer, name: str) -> None:
        self.backend = backend
        self.github = github
        self.server = server
        self.name = f"team/{name}"
        self.url = f"{github.url}/team/{name}.git"
        self.bare = server.bare(name)

    def task(self, script: str = SCRIPT, **body: Any) -> int:
        """Run a script as a task; return the task's id."""
        row = self.backend.complete(script, self.url, github_token=TOKEN, **body)
        return int(row["id"])

    def create(self, task_id: int, **body: Any) -> Row:
        """Request the pull request of a task; return the response with any status."""
        fields = {"github_token": TOKEN, **SIMULATED, **body}
        return self.backend.post(f"/api/create-pr/{task_id}", **fields)

    def created(self, task_id: int, **body: Any) -> Row:
        """Request a pull request that must be created; return the response.

        Repeat the request when a busy machine needs longer than the time of one request.
        """

        def answered() -> Row | None:
            answer = self.create(task_id, **body)
            return None if answer.get("code") == "git_timeout" else answer

        answer = eventually(answered)
        assert answer["http_status"] == 200, answer
        return answer

    def refusal(self, task_id: int, **body: Any) -> tuple[int, str]:
        """Request a pull request that must be refused; return the status and the code."""
        answer = self.create(task_id, **body)
        assert set(answer) == {"error", "code", "http_status"}, answer
        assert TOKEN not in answer["error"]
        return int(answer["http_status"]), str(answer["code"])

    def create_at_once(self, task_id: int, calls: int, **body: Any) -> list[Row]:
        """Request the same pull request several times at once."""
        with ThreadPoolExecutor(calls) as threads:
            return list(threads.map(lambda _: self.create(task_id, **body), range(calls)))

    def row(self, task_id: int) -> Row:
        """Return the stored row of a task."""
        row: Row = self.backend.get(f"/tasks/{task_id}")["task"]
        return row

    @property
    def services(self) -> Services:
        """The services of the backend."""
        return services_of(self.backend)

    @property
    def pulls(self) -> list[Pull]:
        """The pull requests of the repository, newest first."""
        return self.github.pulls(self.name)

    def commit_by_hand(self, branch: str) -> str:
        """Add a commit to a branch as another user; return it."""
        made = git(self.bare, "commit-tree", f"{branch}^{{tree}}", "-p", branch, "-m", "By hand")
        git(self.bare, "update-ref", f"refs/heads/{branch}", made)
        return made

    def delete(self, branch: str) -> None:
        """Delete a branch."""
        git(self.bare, "update-ref", "-d", f"refs/heads/{branch}")

    def client(self) -> GitHub:
        """Return a GitHub client with the user's token; use it in a `with` statement."""
        return GitHub(self.github.api_url, TOKEN)

    def rev(self, name: str) -> str:
        """Return the commit that a name refers to in the repository on GitHub."""
        return git(self.bare, "rev-parse", name)


def actions_token(hosted: Hosted) -> str:
    """Return a token like that of a GitHub Actions run."""
    text = f"ghs_{hosted.name.partition('/')[2]}1234"
    hosted.github.add_token(
        text,
        "github-actions[bot]",
        scopes=None,
        permissions={"contents": "write", "pull_requests": "write", "metadata": "read"},
        repositories=frozenset({hosted.name}),
        installation=15368,
    )
    return text


class Hub:
    """A backend with its fake GitHub, which hosts repositories."""

    def __init__(self, backend: Backend, github: FakeGitHub, server: GitServer) -> None:
        self.backend = backend
        self.github = github
        self.server = server

    @property
    def services(self) -> Services:
        """The services of the backend."""
        return services_of(self.backend)

    def host(self, origin: Repository, **facts: Any) -> Hosted:
        """Publish a copy of a repository on the fake GitHub."""
        name = f"demo{next(_names)}"
        self.server.publish(origin, name, TOKEN)
        hosted = Hosted(self.backend, self.github, self.server, name)
        open_to_partial_clones(hosted.bare)
        roles = {LOGIN: "write", "bob": "read", "carol": "admin"}
        self.github.add_repository(hosted.name, hosted.bare, **{"roles": roles, **facts})
        return hosted


@contextmanager
def open_hub(folder: Path, place: Place | None = None, /, **settings: Any) -> Iterator[Hub]:
    """Open a backend with the fake GitHub and a shell as its agent.

    Without a place its tasks run in local folders.
    """
    with (
        serve_git(folder / "served") as server,
        serve_github() as github,
        # What a simulation made becomes a draft, which tests/pull_requests/test_refusals.py shows.
        shell_agent(replace(SHELL_AGENT, simulated=False)),
        open_backend(folder / "data", place, github_api_url=github.api_url, **settings) as backend,
    ):
        github.git_port = server.port
        github.add_token(TOKEN, LOGIN)
        yield Hub(backend, github, server)
