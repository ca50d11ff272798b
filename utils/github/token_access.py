"""Finds out the permissions of a token in a repository, with requests that only read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from utils.errors import Forbidden
from utils.github.client import GitHub
from utils.github.models import GitHubRepository, GitHubUser

_PRIVATE_SCOPES = frozenset({"repo"})
_PUBLIC_SCOPES = frozenset({"public_repo", "repo"})


@dataclass(frozen=True, slots=True)
class TokenAccess:
    """The user of a token and, if a repository was given, the permissions there.

    The four permissions combine those of the user with the token's scopes. GitHub does not report
    the permissions of a fine-grained token: for these the user's permissions are given,
    `is_certain` is False, and only a push shows the rest. The token of a GitHub App (or of GitHub
    Actions) has no user; permissions that GitHub does not deny count as granted.
    `changes_workflows` is None when it is not known.
    """

    user: GitHubUser | None
    repository: GitHubRepository | None = None
    reads_branches: bool = False
    writes: bool = False
    administers: bool = False
    changes_workflows: bool | None = None

    @property
    def is_certain(self) -> bool:
        """True when the permissions include the limits of the token itself."""
        return self.scopes is not None

    @property
    def scopes(self) -> tuple[str, ...] | None:
        """The scopes of a classic token, None for other tokens."""
        return self.user.scopes if self.user else None


def check_access(
    github: GitHub, full_name: str | None = None, check_time: Callable[[], None] = lambda: None
) -> TokenAccess:
    """Return the user and the permissions of a token, with at most three requests.

    `check_time` is called before each request and raises when no time is left. Raises the errors
    of `check_time`, `GitHub.user` and `GitHub.repository`.
    """
    check_time()
    user = _user(github)
    if full_name is None:
        return TokenAccess(user)
    check_time()
    found = github.repository(full_name)
    check_time()
    reads_branches = github.can_read_branches(found.full_name)
    scopes = user.scopes if user else None
    enough = scopes is None or not _scopes(found).isdisjoint(scopes)
    writes = enough and found.can_push is not False and not found.is_archived
    return TokenAccess(
        user=user,
        repository=found,
        reads_branches=reads_branches,
        writes=writes,
        administers=enough and bool(found.can_admin),
        changes_workflows=None if scopes is None else writes and "workflow" in scopes,
    )


def _user(github: GitHub) -> GitHubUser | None:
    try:
        return github.user()
    except Forbidden as error:
        # An App's token: every token of a user may read its user.
        if error.code != "github_token_scope":
            raise
        return None


def _scopes(found: GitHubRepository) -> frozenset[str]:
    return _PRIVATE_SCOPES if found.is_private else _PUBLIC_SCOPES
