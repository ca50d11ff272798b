"""Clones repositories into the sandboxes of users, each under its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from utils.errors import CloneError, Conflict, InvalidInput
from utils.git.credentials import authorization_header
from utils.models.runs import Job
from utils.models.tasks import Json
from utils.pipeline.clone import Clone, clone_repository
from utils.sandbox_service.context import ServiceContext
from utils.sandboxes.protocol import EgressHeader, Sandbox
from utils.sandboxes.registry import uses_egress
from utils.sandboxes.view import SandboxView

MAX_REPOSITORIES = 20

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class RepositorySource:
    """A repository to clone: its name in the sandbox, its canonical address and its branch."""

    name: str
    repo_url: str
    branch: str
    token: str | None = field(default=None, repr=False)

    @property
    def row(self) -> Json:
        """The entry of it that is stored."""
        return {"name": self.name, "repo_url": self.repo_url, "branch": self.branch or None}


def checked_name(name: str) -> str:
    """Return the name of a repository in a sandbox. Raises `InvalidInput`."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            "name: must be 1 to 100 letters, digits, dots, dashes and underscores, and begin with "
            "a letter, a digit or an underscore. Send a name for this repository."
        )
    return name


def require_room(repositories: Sequence[Json], name: str) -> None:
    """Raise `Conflict` (`repository_exists`) when a sandbox cannot have another repository."""
    if any(one["name"] == name for one in repositories):
        raise Conflict(
            "The sandbox has a repository of this name. Send another name.", "repository_exists"
        )
    if len(repositories) >= MAX_REPOSITORIES:
        raise Conflict(f"A sandbox can have {MAX_REPOSITORIES} repositories.", "repository_exists")


def repository_folder(sandbox: Sandbox, name: str) -> str:
    """Return the path of a repository."""
    return f"{sandbox.paths.home}/{name}"


async def clone_into(context: ServiceContext, sandbox: Sandbox, wanted: RepositorySource) -> Clone:
    """Clone a repository into the home folder, as tasks clone theirs.

    The token is on the standard input of the clone alone, or in the network of the sandbox where
    that can add it. Raises `Conflict` (`clone_failed`), `SandboxError`.
    """
    folder = repository_folder(sandbox, wanted.name)
    view = SandboxView(sandbox, replace(sandbox.paths, repository=folder))
    host, token = urlsplit(wanted.repo_url).hostname, wanted.token
    by_network = bool(token and host and uses_egress(context.settings))
    job = Job(
        task_id=0,
        prompt="",
        repo_url=wanted.repo_url,
        branch=wanted.branch,
        agent="",
        git_token=None if by_network else token,
    )
    with context.redactor.hold(token):
        try:
            if token and host and by_network:
                header = authorization_header(wanted.repo_url, token)
                await sandbox.restrict_egress([EgressHeader(host, "Authorization", header)])
            return await clone_repository(view, job, context.clone)
        except CloneError as error:
            message = context.redactor.redact(error.message)
            raise Conflict(message, "clone_failed") from error
        finally:
            if by_network:
                await sandbox.restrict_egress([])
