"""Frozen values of GitHub's answers, converted from PyGithub's objects.

PyGithub's objects send a request when an attribute is read that they do not hold. Only attributes
that are part of lists are read here, so that a list takes one request per page.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from github import IncompletableObject
from github.AuthenticatedUser import AuthenticatedUser
from github.Commit import Commit
from github.GitCommit import GitCommit
from github.Issue import Issue
from github.IssueComment import IssueComment
from github.PullRequest import PullRequest
from github.Repository import Repository


class MergeMethod(StrEnum):
    """The way in which a pull request's commits are added to its base."""

    MERGE = "merge"
    SQUASH = "squash"
    REBASE = "rebase"


class CommitState(StrEnum):
    """The state of a commit status. `error` says that there is no result."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class GitHubUser:
    """The user of a token.

    `scopes` is None for fine-grained tokens and those of Apps; GitHub names their permissions only
    when one is missing.
    """

    login: str
    name: str | None
    email: str | None
    avatar_url: str
    scopes: tuple[str, ...] | None
    token_expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class GitHubRepository:
    """A repository and the permissions of the token's user.

    `full_name` is the current `owner/name`; `moved_from` is the requested name if it differs.
    `can_push` and `can_admin` are the user's permissions; the token itself may have fewer. They
    are null for tokens of a GitHub App, for which GitHub does not report them.
    """

    full_name: str
    moved_from: str | None
    html_url: str
    is_private: bool
    is_archived: bool
    default_branch: str
    can_read: bool
    can_push: bool | None
    can_admin: bool | None

    @property
    def owner(self) -> str:
        """The user or organization that owns it."""
        return self.full_name.partition("/")[0]


@dataclass(frozen=True, slots=True)
class GitHubCommit:
    """The tree and the parents of a commit, as git object names."""

    tree: str
    parents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GitHubPull:
    """A pull request.

    `head_repository` is null if its fork was deleted. `reviewers` and `teams` have been requested
    and have not reviewed yet; `teams` holds slugs.
    """

    number: int
    url: str
    title: str
    body: str
    state: str
    is_draft: bool
    is_merged: bool
    author: str | None
    base: str
    head: str
    head_sha: str
    head_repository: str | None
    labels: tuple[str, ...]
    reviewers: tuple[str, ...]
    teams: tuple[str, ...]
    created_at: datetime
    updated_at: datetime | None
    merged_at: datetime | None

    @property
    def outcome(self) -> str:
        """The state to store with a task: open, closed or merged."""
        return "merged" if self.is_merged else self.state


@dataclass(frozen=True, slots=True)
class GitHubIssue:
    """An issue, or a pull request read as an issue."""

    number: int
    url: str
    title: str
    body: str
    state: str
    author: str | None
    labels: tuple[str, ...]
    is_pull_request: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class GitHubComment:
    """A comment on an issue or a pull request."""

    id: int
    url: str
    body: str
    author: str | None
    created_at: datetime


class ReviewEvent(StrEnum):
    """The kinds of reviews that can be submitted."""

    APPROVE = "approve"
    REQUEST_CHANGES = "request_changes"
    COMMENT = "comment"


@dataclass(frozen=True, slots=True)
class LineRange:
    """A line of a changed file, or the lines from `start_line` to it.

    `side` is RIGHT for lines of the new version, LEFT for removed ones.
    """

    path: str
    line: int
    side: str = "RIGHT"
    start_line: int | None = None


@dataclass(frozen=True, slots=True)
class GitHubReviewComment:
    """A comment on lines of a pull request; see `LineRange`.

    `line` is null when the lines have changed since. `reply_to` is the id of the comment that it
    answers.
    """

    id: int
    url: str
    body: str
    author: str | None
    path: str
    line: int | None
    start_line: int | None
    side: str | None
    commit: str
    reply_to: int | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class GitHubReview:
    """A review of a pull request.

    `state` is approved, changes_requested, commented, dismissed or pending.
    """

    id: int
    url: str
    state: str
    body: str
    author: str | None
    commit: str | None
    submitted_at: datetime | None


@dataclass(frozen=True, slots=True)
class GitHubCheck:
    """A check run or a commit status of a commit.

    `state` is pending, success, failure, or another conclusion of a check run such as skipped.
    """

    name: str
    state: str
    url: str | None
    is_required: bool


@dataclass(frozen=True, slots=True)
class GitHubMergeState:
    """The checks of a pull request's latest commit, and what its merge lacks, in words.

    `required_approvals` counts the rules that the token may read.
    """

    head_sha: str
    checks: tuple[GitHubCheck, ...]
    approvals: int
    required_approvals: int
    missing: tuple[str, ...]


def required(value: str | None) -> str:
    """Return a value that every answer must hold; PyGithub returns None for a missing one."""
    if value is None:
        raise IncompletableObject(400, message="a necessary part of the answer is missing")
    return value


def user_value(user: AuthenticatedUser, scopes: list[str] | None) -> GitHubUser:
    """Return the user of a token."""
    return GitHubUser(
        login=required(user.login),
        name=user.name,
        email=user.email,
        avatar_url=user.avatar_url,
        scopes=None if scopes is None else tuple(scope for scope in scopes if scope),
        token_expires_at=_token_end(user),
    )


def _token_end(user: AuthenticatedUser) -> datetime | None:
    header = str(user.raw_headers.get("github-authentication-token-expiration", ""))
    try:
        return datetime.strptime(header.replace("UTC", "+0000"), "%Y-%m-%d %H:%M:%S %z")
    except ValueError:
        return None


def repository_value(
    repository: Repository, requested_name: str, *, is_app: bool = False
) -> GitHubRepository:
    """Return a repository. Only after a move do the names differ in more than case."""
    full_name = repository.full_name
    permissions = repository.permissions
    return GitHubRepository(
        full_name=full_name,
        moved_from=None if full_name.lower() == requested_name.lower() else requested_name,
        html_url=repository.html_url,
        is_private=repository.private,
        is_archived=repository.archived,
        default_branch=required(repository.default_branch),
        # Without a token GitHub reports no permissions and serves public repositories only.
        can_read=True if permissions is None else bool(permissions.pull),
        can_push=None if is_app else permissions is not None and bool(permissions.push),
        can_admin=None if is_app else permissions is not None and bool(permissions.admin),
    )


def commit_value(commit: GitCommit, parents: Iterable[GitCommit | Commit]) -> GitHubCommit:
    """Return a commit. PyGithub keeps the parents of listed commits in another object."""
    return GitHubCommit(commit.tree.sha, tuple(parent.sha for parent in parents))


def pull_value(pull: PullRequest) -> GitHubPull:
    """Return a pull request. Lists lack `merged` but hold `merged_at`."""
    return GitHubPull(
        number=pull.number,
        url=pull.html_url,
        title=pull.title,
        body=pull.body or "",
        state=pull.state,
        is_draft=bool(pull.draft),
        is_merged=pull.merged_at is not None,
        author=pull.user.login if pull.user else None,
        base=pull.base.ref,
        head=pull.head.ref,
        head_sha=pull.head.sha,
        head_repository=pull.head.repo.full_name if pull.head.repo else None,
        labels=tuple(label.name for label in pull.labels),
        reviewers=tuple(user.login for user in pull.requested_reviewers),
        teams=tuple(required(team.slug) for team in pull.requested_teams),
        created_at=pull.created_at,
        updated_at=pull.updated_at,
        merged_at=pull.merged_at,
    )


def issue_value(issue: Issue) -> GitHubIssue:
    """Return an issue."""
    return GitHubIssue(
        number=issue.number,
        url=issue.html_url,
        title=issue.title,
        body=issue.body or "",
        state=issue.state,
        author=issue.user.login if issue.user else None,
        labels=tuple(label.name for label in issue.labels),
        # The `pull_request` key is missing in issues, and PyGithub would send a request for it.
        is_pull_request="/pull/" in issue.html_url,
        created_at=issue.created_at,
        updated_at=issue.updated_at,
    )


def comment_value(comment: IssueComment) -> GitHubComment:
    """Return a comment."""
    return GitHubComment(
        id=comment.id,
        url=required(comment.html_url),
        body=comment.body or "",
        author=comment.user.login if comment.user else None,
        created_at=comment.created_at,
    )
