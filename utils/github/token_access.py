"""Reads a token's permissions in a repository without changing anything on GitHub."""

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
    """The user of a token and, when a repository was asked for, what may be done there.

    The four rights join the user's with the token's scopes. GitHub does not tell what a
    fine-grained token may: there the rights are the user's, `is_certain` is False, and pushing
    shows the rest. A GitHub App's token, such as GitHub Actions have, has no user, and what GitHub
    does not deny counts as allowed. `changes_workflows` is None where it is not known.
    """

    user: GitHubUser | None
    repository: GitHubRepository | None = None
    reads_branches: bool = False
    writes: bool = False
    administers: bool = False
    changes_workflows: bool | None = None

    @property
    def is_certain(self) -> bool:
        """True when the token certainly has the permissions for a push."""
        return self.scopes is not None

    @property
    def scopes(self) -> tuple[str, ...] | None:
        """The scopes of a classic token; others have none."""
        return self.user.scopes if self.user else None


def check_access(
    github: GitHub, full_name: str | None = None, check_time: Callable[[], None] = lambda: None
) -> TokenAccess:
    """Ask who a token's user is and what it may do, with three requests that only read.

    `check_time` is called before each, and raises when there is no time for it. Raises what that,
    `GitHub.user` and `GitHub.repository` raise.
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
        # GitHub knows the token: every token of a user may ask whose it is.
        if error.code != "github_token_scope":
            raise
        return None


def _scopes(found: GitHubRepository) -> frozenset[str]:
    return _PRIVATE_SCOPES if found.is_private else _PUBLIC_SCOPES
