"""What requests for pull requests hold, and what they are answered with."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from utils.api.requests import Body, Label, RepositoryAddress, Token, without_nul
from utils.api.responses import Time
from utils.github.models import GitHubRepository
from utils.github.token_access import TokenAccess
from utils.models.tasks import Json
from utils.pull_requests.publisher import PullRequestResult

_Title = Annotated[str, Field(max_length=1_000), AfterValidator(without_nul)]
_Reviewer = Annotated[
    str, Field(max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*(?:\[bot\]|/[\w.-]+)?$")
]


class CreatePullRequest(Body):
    """How the pull request is to be; everything may be left out."""

    title: _Title | None = Field(
        None, description="Made from the prompt when blank; cut at 256 characters."
    )
    body: Annotated[str, AfterValidator(without_nul)] | None = Field(
        None, description="Markdown; cut where GitHub takes no more."
    )
    github_token: Token | None = Field(
        None, description="The header's, the caller's stored one, or the server's, when not given."
    )
    draft: bool = Field(default=False, description="For a new pull request only.")
    base: str | None = Field(
        None, max_length=255, description="The branch the task started from when not given."
    )
    labels: list[Label] = Field(default_factory=list, max_length=100)
    reviewers: list[_Reviewer] = Field(
        default_factory=list, max_length=15, description="Users, and teams as organization/team."
    )
    allow_simulated: bool = False
    allow_workflow_changes: bool = False
    allow_moved: bool = Field(default=False, description="Follow a repository to its new name.")


class ValidateToken(Body):
    """A token to look at, and the repository that it is for."""

    github_token: Token | None = Field(
        None, description="The header's when not given; never the stored one."
    )
    repo_url: RepositoryAddress | None = None


class Warned(TypedDict):
    """A wish that GitHub did not take, although the pull request is there."""

    code: str
    error: str


class Permissions(TypedDict):
    """What a token may do in a repository, as far as GitHub tells."""

    read: bool
    write: bool
    admin: bool
    read_branches: bool
    create_branches: bool


class CheckedRepository(TypedDict):
    """A repository as a token sees it."""

    name: str
    private: bool
    archived: bool
    default_branch: str
    permissions: Permissions


def pull_request_row(made: PullRequestResult, files: int) -> Json:
    """Return what create-pr answers."""
    return {
        "pr_url": made.pull.url,
        "pr_number": made.pull.number,
        "branch": made.branch,
        "base": made.pull.base,
        "commit": made.commit,
        "title": made.pull.title,
        "draft": made.pull.is_draft,
        "created": made.is_new,
        "files_updated": files,
        "warnings": [{"code": one.code, "error": one.message} for one in made.warnings],
    }


MADE = {
    "pr_url": str,
    "pr_number": int,
    "branch": str,
    "base": str,
    "commit": str,
    "title": str,
    "draft": bool,
    "created": bool,
    "files_updated": int,
    "warnings": list[Warned],
}
CHECKED = {
    "user": str | None,
    "repo": CheckedRepository | None,
    "scopes": list[str] | None,
    "token_expires_at": Time | None,
    "message": str,
}


def token_access_row(access: TokenAccess) -> Json:
    """Return what validate-token answers."""
    return {
        "user": access.user and access.user.login,
        "repo": _repository_row(access),
        "scopes": None if access.scopes is None else list(access.scopes),
        "token_expires_at": access.user and access.user.token_expires_at,
        "message": _message(access),
    }


def _repository_row(access: TokenAccess) -> CheckedRepository | None:
    found = access.repository
    if found is None:
        return None
    return {
        "name": found.full_name,
        "private": found.is_private,
        "archived": found.is_archived,
        "default_branch": found.default_branch,
        "permissions": {
            "read": found.can_read or access.reads_branches,
            "write": access.writes,
            "admin": access.administers,
            "read_branches": access.reads_branches,
            "create_branches": access.writes,
        },
    }


def _message(access: TokenAccess) -> str:
    found = access.repository
    if found is None:
        return "The token is valid. Send repo_url too, to see what it may do in a repository."
    return _moved(found) + _rights(access, found)


def _moved(found: GitHubRepository) -> str:
    if found.moved_from is None:
        return ""
    return (
        f"The repository has moved to {found.full_name}: change the address of the project, or "
        "send allow_moved: true with create-pr. "
    )


def _rights(access: TokenAccess, found: GitHubRepository) -> str:
    if found.is_archived:
        return "The token is valid, and the repository is archived: nothing can be pushed to it."
    if not access.writes or not access.reads_branches:
        return (
            "The token is valid, but cannot push to this repository. It needs write access: the "
            "permissions Contents and Pull requests (classic: scope repo)."
        )
    if access.user is None:
        return (
            "The token is valid and a GitHub App's, as in GitHub Actions. GitHub does not tell "
            "what it may: it needs Contents and Pull requests, read and write."
        )
    if not access.is_certain:
        return (
            "The token is valid and its user may push. GitHub does not tell what a fine-grained "
            "token may: it needs Contents and Pull requests, read and write."
        )
    return "The token is valid and may push to this repository."
