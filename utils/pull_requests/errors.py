"""Errors about an existing pull request that prevents the requested one."""

from __future__ import annotations

from utils.errors import BranchChanged, Conflict
from utils.github.models import GitHubPull

EXISTS = "pull_request_exists"


def merged(pull: GitHubPull) -> Conflict:
    """Return the error for a result that is in its base already."""
    return Conflict(
        f"Pull request {pull.number} is merged: the result is in {pull.base}.",
        "pull_request_merged",
    )


def base_taken(noted: GitHubPull, other: GitHubPull) -> Conflict:
    """Return the error for a base for which the branch has a second pull request."""
    return Conflict(
        f"The branch has a second open pull request, {other.url}, which is for {other.base}: "
        f"GitHub does not let {noted.url} be for the same base. Close one of them, or leave out "
        "base.",
        EXISTS,
    )


def moved_on(pull: GitHubPull, full_name: str, commit: str) -> BranchChanged:
    """Return the error for an open pull request to whose branch others have pushed."""
    return BranchChanged(
        f"Others have pushed to the branch {pull.head} of the open pull request {pull.url}: it is "
        f"at {commit} now, and is left as it is. Change the pull request on GitHub or with PUT "
        f"/github/repos/{full_name}/pulls/{pull.number}. To push the result anew, delete or "
        "rename the branch, and try again.",
        commit,
    )
