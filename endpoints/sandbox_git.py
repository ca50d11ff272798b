"""Endpoints of git in sandboxes: clone, branch, commit, push, pull requests."""

from __future__ import annotations

from typing import Annotated, cast

from flask import Blueprint
from pydantic import Field

from endpoints.sandboxes import CREATE, USE
from utils.api.endpoint import Services, endpoint
from utils.api.error_codes.shared import GITHUB, PULL_REQUEST
from utils.api.sandbox_repositories import wanted_repository
from utils.api.schemas.sandbox_git import (
    BranchBody,
    CloneBody,
    CommitBody,
    CommitRow,
    LogQuery,
    PullBody,
    PushBody,
    StatusFileRow,
)
from utils.api.schemas.sandboxes import SandboxRepositoryRow
from utils.git.repository_url import validate_branch
from utils.models.tasks import Json
from utils.pull_requests.conventional_commits import require_conventional
from utils.sandbox_service.publishing import PullOptions, PushOptions

GIT = (*USE, "git_failed", "sandbox_not_isolated")
PUSH = (
    *GIT,
    *PULL_REQUEST,
    *GITHUB,
    "github_token_needed",
    "invalid_branch",
    "stored_secret_unreadable",
)

Commit = Annotated[str, Field(description="The name of the commit.")]
BranchName = Annotated[str, Field(description="The name of the branch.")]

blueprint = Blueprint("sandbox_git", __name__, url_prefix="/v1/sandboxes/<id:sandbox_id>/git")


@blueprint.post("/clone")
@endpoint(
    {"repository": Annotated[SandboxRepositoryRow, Field(description="The clone.")]},
    body=CloneBody,
    status=201,
    errors=(*GIT, *CREATE, "repository_exists"),
)
def clone_repository(services: Services, user_id: str, sandbox_id: int, body: CloneBody) -> Json:
    """Clone another repository into a sandbox. What was left running in it is ended before."""
    services.database.get_sandbox(user_id, sandbox_id)  # before the token is looked for
    wanted = wanted_repository(
        services, user_id, body.repo_url, body.branch, body.name, body.github_token
    )
    return {"repository": services.sandboxes.git.clone(user_id, sandbox_id, wanted)}


@blueprint.get("/<name:repository>/status")
@endpoint(
    {
        "branch": Annotated[str | None, Field(description="The branch that is checked out.")],
        "commit": Commit,
        "files": Annotated[
            list[StatusFileRow], Field(description="The files that differ from the last commit.")
        ],
    },
    errors=GIT,
)
def get_git_status(services: Services, user_id: str, sandbox_id: int, repository: str) -> Json:
    """Return the branch of a repository and the files that differ from its last commit."""
    status = services.sandboxes.git.status(user_id, sandbox_id, repository)
    files = [{"path": one.path, "state": one.state} for one in status.files]
    return {"branch": status.branch, "commit": status.commit, "files": files}


@blueprint.get("/<name:repository>/diff")
@endpoint(
    {
        "git_diff": Annotated[str, Field(description="The changes; empty without any.")],
        "changed_files": Annotated[list[str], Field(description="The changed files.")],
    },
    errors=GIT,
)
def get_changes(services: Services, user_id: str, sandbox_id: int, repository: str) -> Json:
    """Return all changes since the clone, committed or not: what a push would push."""
    changes = services.sandboxes.git.changes(user_id, sandbox_id, repository)
    return {"git_diff": changes.diff or "", "changed_files": list(changes.changed_files)}


@blueprint.get("/<name:repository>/log")
@endpoint(
    {"commits": Annotated[list[CommitRow], Field(description="The commits, newest first.")]},
    query=LogQuery,
    errors=GIT,
)
def get_git_log(
    services: Services, user_id: str, sandbox_id: int, repository: str, query: LogQuery
) -> Json:
    """List the newest commits of a repository."""
    found = services.sandboxes.git.log(user_id, sandbox_id, repository, query.limit)
    rows = [{name: getattr(one, name) for name in CommitRow.__annotations__} for one in found]
    return {"commits": cast("list[CommitRow]", rows)}


@blueprint.post("/<name:repository>/branch")
@endpoint(
    {"branch": BranchName, "commit": Commit}, body=BranchBody, errors=(*GIT, "invalid_branch")
)
def check_out_branch(
    services: Services, user_id: str, sandbox_id: int, repository: str, body: BranchBody
) -> Json:
    """Check out a branch of the clone, or create it from the present commit."""
    services.database.get_sandbox(user_id, sandbox_id)
    branch = validate_branch(body.branch)
    commit = services.sandboxes.git.branch(user_id, sandbox_id, repository, branch)
    return {"branch": branch, "commit": commit}


@blueprint.post("/<name:repository>/commit")
@endpoint(
    {"commit": Commit}, body=CommitBody, errors=(*GIT, "no_changes", "title_not_conventional")
)
def commit_changes(
    services: Services, user_id: str, sandbox_id: int, repository: str, body: CommitBody
) -> Json:
    """Commit all changes of a repository, in the sandbox."""
    services.database.get_sandbox(user_id, sandbox_id)
    if body.conventional:
        require_conventional(_title(body.message))
    return {"commit": services.sandboxes.git.commit(user_id, sandbox_id, repository, body.message)}


@blueprint.post("/<name:repository>/push")
@endpoint({"branch": BranchName, "commit": Commit}, body=PushBody, errors=PUSH)
def push_changes(
    services: Services, user_id: str, sandbox_id: int, repository: str, body: PushBody
) -> Json:
    """Push all changes since the clone as one commit to a branch of the host.

    The push is made outside of the sandbox, so that your token does not enter it. The same request
    again changes nothing.
    """
    services.database.get_sandbox(user_id, sandbox_id)
    wanted = _wanted_push(body)
    commit = services.sandboxes.git.push(user_id, sandbox_id, repository, wanted)
    return {"branch": wanted.branch, "commit": commit}


@blueprint.post("/<name:repository>/pr")
@endpoint(
    {
        "pr_url": Annotated[str, Field(description="The address of the pull request.")],
        "pr_number": Annotated[int, Field(description="The number of the pull request.")],
        "is_new": Annotated[bool, Field(description="False when it was open already.")],
        "branch": BranchName,
        "commit": Commit,
    },
    body=PullBody,
    errors=PUSH,
)
def open_pull_request(
    services: Services, user_id: str, sandbox_id: int, repository: str, body: PullBody
) -> Json:
    """Push, then open a pull request on GitHub, or return the one that is open."""
    services.database.get_sandbox(user_id, sandbox_id)
    pushed = _wanted_push(body)
    wanted = PullOptions(body.title or _title(body.message), body.body, body.base, body.draft)
    commit, opened = services.sandboxes.git.open_pull(
        user_id, sandbox_id, repository, pushed, wanted
    )
    return {
        "pr_url": opened.pull.url,
        "pr_number": opened.pull.number,
        "is_new": opened.is_new,
        "branch": pushed.branch,
        "commit": commit,
    }


def _wanted_push(body: PushBody) -> PushOptions:
    if body.conventional:
        require_conventional(_title(body.message))
    return PushOptions(
        branch=validate_branch(body.branch),
        message=body.message,
        token=body.github_token,
        allow_workflow_changes=body.allow_workflow_changes,
    )


def _title(message: str) -> str:
    return message.partition("\n")[0]
