"""Request and response schemas for pull requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, NotRequired, get_type_hints

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from utils.api.requests import (
    EXAMPLE_REPOSITORY,
    Body,
    Label,
    RepositoryAddress,
    Token,
    example,
    without_nul,
)
from utils.api.responses import Time
from utils.github.models import GitHubRepository
from utils.github.token_access import TokenAccess
from utils.models.tasks import Json
from utils.pull_requests.links import Published
from utils.pull_requests.publisher import PullRequestResult

_Title = Annotated[str, Field(max_length=1_000), AfterValidator(without_nul)]
_Reviewer = Annotated[
    str, Field(max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*(?:\[bot\]|/[\w.-]+)?$")
]


class CreatePullRequest(Body):
    """Options of the pull request. Every field is optional."""

    model_config = example(title="Add CONTRIBUTING.md", allow_simulated=True)

    title: _Title | None = Field(
        None,
        description="Title; made from the prompt if empty or omitted. Longer titles are cut at "
        "256 characters.",
    )
    body: Annotated[str, AfterValidator(without_nul)] | None = Field(
        None,
        description="Description in Markdown; made from the task if empty or omitted. It is cut "
        "at GitHub's limit.",
    )
    github_token: Token | None = Field(
        None,
        description="GitHub token. If omitted, the server uses the X-GitHub-Token header, then "
        "your stored token, then its own.",
    )
    draft: bool = Field(
        default=False,
        description="Open the pull request as a draft. Ignored if it exists already.",
    )
    base: str | None = Field(
        None,
        max_length=255,
        description="Branch to merge into; by default the branch that the task started from.",
    )
    labels: list[Label] = Field(
        default_factory=list, max_length=100, description="Labels to add to the pull request."
    )
    reviewers: list[_Reviewer] = Field(
        default_factory=list,
        max_length=15,
        description="Reviewers to request: user names, or teams as organization/team.",
    )
    allow_simulated: bool = Field(
        default=False,
        description="With ENVIRONMENT=production: allow a draft of a simulated result, which no AI "
        "has written. Elsewhere a draft is opened without it.",
    )
    allow_workflow_changes: bool = Field(
        default=False, description="Allow changes below .github/workflows."
    )
    allow_moved: bool = Field(
        default=False, description="Follow a repository that was renamed or transferred."
    )
    repository: Annotated[str, Field(max_length=200), AfterValidator(without_nul)] | None = Field(
        None,
        description="Of a task over several repositories: the name of the one to create a pull "
        "request in; by default all with changes.",
    )


class ValidateToken(Body):
    """A GitHub token to check, and optionally a repository to check it against."""

    model_config = example(
        github_token="<github_token>",  # noqa: S106
        repo_url=EXAMPLE_REPOSITORY,
    )

    github_token: Token | None = Field(
        None,
        description="Token to check; by default the one in the X-GitHub-Token header. Your "
        "stored token is never used here.",
    )
    repo_url: RepositoryAddress | None = Field(
        None, description="Repository in which to check the permissions of the token."
    )


class Warned(TypedDict):
    """An option that GitHub rejected, such as a label. The pull request itself was created."""

    code: str
    error: str


class Permissions(TypedDict):
    """Permissions of a token in a repository, as far as GitHub reports them."""

    read: bool
    write: bool
    admin: bool
    read_branches: bool
    create_branches: bool


class CheckedRepository(TypedDict):
    """A repository and the token's permissions in it."""

    name: str
    private: bool
    archived: bool
    default_branch: str
    permissions: Permissions


@dataclass(frozen=True, slots=True)
class PullRequestRow:
    """The response to create-pr."""

    pr_url: str
    pr_number: int
    branch: str
    base: str
    commit: str
    title: str
    draft: bool
    created: bool
    files_updated: int
    warnings: list[Warned]


@dataclass(frozen=True, slots=True)
class RepositoryPull(PullRequestRow):
    """The pull request in one of several repositories; the fields are those of the answer."""

    repository: str


def pull_request_answer(published: Sequence[Published]) -> Json:
    """Return the response to create-pr."""
    rows = [
        (one.target.name, _row(one.result, len(one.target.task.changed_files or ())))
        for one in published
    ]
    answer = dict(rows[0][1])
    if published[0].target.name:
        answer["pull_requests"] = [{"repository": name, **row} for name, row in rows]
    return answer


def _row(published: PullRequestResult, files: int) -> Json:
    row = PullRequestRow(
        pr_url=published.pull.url,
        pr_number=published.pull.number,
        branch=published.branch,
        base=published.pull.base,
        commit=published.commit,
        title=published.pull.title,
        draft=published.pull.is_draft,
        created=published.is_new,
        files_updated=files,
        warnings=[{"code": one.code, "error": one.message} for one in published.warnings],
    )
    return asdict(row)


PULL_REQUEST_FIELDS = {
    **get_type_hints(PullRequestRow),
    "pull_requests": NotRequired[list[RepositoryPull]],
}
TOKEN_ACCESS_FIELDS = {
    "user": str | None,
    "repo": CheckedRepository | None,
    "scopes": list[str] | None,
    "token_expires_at": Time | None,
    "message": str,
}


def token_access_row(access: TokenAccess) -> Json:
    """Return the response body of validate-token."""
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
        return "The token is valid. Send repo_url as well to check its permissions in a repository."
    return _moved(found) + _rights(access, found)


def _moved(found: GitHubRepository) -> str:
    if found.moved_from is None:
        return ""
    return (
        f"The repository has moved to {found.full_name}. Update the project's repo_url, or send "
        "allow_moved: true to create-pr. "
    )


def _rights(access: TokenAccess, found: GitHubRepository) -> str:
    if found.is_archived:
        return "The token is valid, but the repository is archived and accepts no pushes."
    if not access.writes or not access.reads_branches:
        return (
            "The token is valid but cannot push to this repository. Give it write access: the "
            "permissions Contents and Pull requests (classic token: scope repo)."
        )
    if access.user is None:
        return (
            "The token is valid and belongs to a GitHub App, as in GitHub Actions. GitHub does not "
            "report its permissions. It needs read and write access to Contents and Pull requests."
        )
    if not access.is_certain:
        return (
            "The token is valid and its user may push. GitHub does not report the permissions of "
            "fine-grained tokens. It needs read and write access to Contents and Pull requests."
        )
    return "The token is valid and can push to this repository."
