"""Holds the state of the fake GitHub: repositories, tokens, Apps, pull requests and issues."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

Json = dict[str, Any]

ROLES = ("none", "read", "write", "admin")


class Refused(Exception):
    """An answer with an error status, in GitHub's words."""

    def __init__(self, status: int, message: str, *errors: Any, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.body: Json = {"message": message, **({"errors": list(errors)} if errors else {})}
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class GraphQLRefused(Refused):
    """An error of GraphQL: status 200, and errors with a type or without."""

    def __init__(self, kind: str | None, message: str, **headers: str) -> None:
        super().__init__(200, message, **headers)
        error = {"message": message, "locations": [{"line": 1, "column": 1}]}
        self.body = {"data": None, "errors": [{"type": kind, **error} if kind else error]}


@dataclass(slots=True)
class Token:
    """A token of a user, or with `installation` of an App. `scopes` is None unless classic."""

    login: str
    scopes: tuple[str, ...] | None = ("repo",)
    permissions: dict[str, str] = field(default_factory=dict)
    repositories: frozenset[str] = frozenset()
    installation: int | None = None
    expires: str | None = None


@dataclass(slots=True)
class Comment:
    """A comment on an issue or a pull request."""

    id: int
    author: str
    body: str
    created_at: datetime


@dataclass(slots=True)
class LineComment(Comment):
    """A comment on lines of a pull request."""

    path: str = ""
    line: int | None = None
    start_line: int | None = None
    side: str = "RIGHT"
    commit: str = ""
    reply_to: int | None = None


@dataclass(slots=True)
class Review(Comment):
    """A review of a pull request; `state` in GitHub's capitals."""

    state: str = "COMMENTED"
    commit: str = ""


@dataclass(slots=True)
class Issue:
    """An issue, or the fields that a pull request shares with issues."""

    number: int
    title: str
    body: str
    author: str
    state: str = "open"
    labels: list[str] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    updated_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(slots=True)
class Pull(Issue):
    """A pull request between two branches; `head_sha` is the last known commit of its head.

    `merged_onto` is what its base was at before the merge.
    Its head is in the same repository unless `head_repository` names another one.
    """

    head: str = ""
    base: str = ""
    head_sha: str = ""
    head_repository: str | None = None
    draft: bool = False
    reviewers: list[str] = field(default_factory=list)
    teams: list[str] = field(default_factory=list)
    merged_at: datetime | None = None
    merge_sha: str | None = None
    merged_onto: str | None = None
    line_comments: list[LineComment] = field(default_factory=list)
    reviews: list[Review] = field(default_factory=list)


@dataclass(slots=True)
class Repository:
    """A repository whose branches are those of the bare one at `bare`."""

    id: int
    full_name: str
    bare: Path
    default_branch: str = "main"
    private: bool = False
    archived: bool = False
    has_issues: bool = True
    allows_drafts: bool = True
    merge_methods: frozenset[str] = frozenset({"merge", "squash", "rebase"})
    protected: dict[str, str] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    issues: dict[int, Issue] = field(default_factory=dict)
    statuses: dict[str, list[Json]] = field(default_factory=dict)
    check_runs: dict[str, list[Json]] = field(default_factory=dict)
    rules: dict[str, list[Json]] = field(default_factory=dict)
    required_checks: dict[str, list[str]] = field(default_factory=dict)
    numbers: count[int] = field(default_factory=lambda: count(1))

    @property
    def pulls(self) -> list[Pull]:
        """All pull requests, newest first."""
        return [it for it in reversed(self.issues.values()) if isinstance(it, Pull)]

    def role(self, login: str) -> str:
        """Return the role of a user in GitHub's words."""
        return self.roles.get(login, "none" if self.private else "read")


@dataclass(slots=True)
class App:
    """A GitHub App: its public key, its installations and their permissions."""

    id: str
    public_key: str
    installations: dict[str, int] = field(default_factory=dict)
    permissions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """A received request, as far as tests inspect it."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    token: str | None


@dataclass(slots=True)
class Call:
    """The arguments of a handler."""

    api: str
    request: Request
    names: dict[str, str]
    caller: Token | None
    repository: Repository

    @property
    def login(self) -> str:
        """The login of the caller."""
        assert self.caller is not None
        return self.caller.login

    def issue(self) -> Issue:
        """Return the issue, or the pull request as one, that the path names."""
        found = self.repository.issues.get(int(self.names["number"]))
        if found is None:
            raise Refused(404, "Not Found")
        return found

    def of_its_kind(self, needs: tuple[str, str] | None) -> tuple[str, str] | None:
        """Return the needed permission: that of pull requests when the issue is one."""
        number = int(self.names.get("number", 0))
        is_pull = isinstance(self.repository.issues.get(number), Pull)
        return ("pull_requests", needs[1]) if is_pull and needs and needs[0] == "issues" else needs

    def pull(self) -> Pull:
        """Return the pull request that the path names."""
        found = self.issue()
        if not isinstance(found, Pull):
            raise Refused(404, "Not Found")
        return found
