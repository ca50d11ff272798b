"""Errors for pull requests that conflict with the requested one."""

from __future__ import annotations

from utils.errors import BranchChanged, Conflict
from utils.github.models import GitHubPull

EXISTS = "pull_request_exists"


def merged(pull: GitHubPull) -> Conflict:
    """Return the error for a result that was already merged into its base."""
    return Conflict(
        f"Pull request {pull.number} was already merged into {pull.base}.",
        "pull_request_merged",
    )


def base_taken(noted: GitHubPull, other: GitHubPull) -> Conflict:
    """Return the error for a new base that another pull request of the branch already has."""
    return Conflict(
        f"The branch has another open pull request for {other.base}: {other.url}. GitHub does not "
        f"allow the same base for {noted.url}. Close one of them, or leave out base.",
        EXISTS,
    )


def moved_on(pull: GitHubPull, full_name: str, commit: str) -> BranchChanged:
    """Return the error for an open pull request whose branch has commits of others."""
    return BranchChanged(
        f"Others have pushed to the branch {pull.head} of the open pull request {pull.url}. It is "
        f"at {commit} now and was not changed. Change the pull request on GitHub or with PUT "
        f"/github/repos/{full_name}/pulls/{pull.number}. To push the result again, delete or "
        "rename the branch first.",
        commit,
    )
