"""Uses GitHub's GraphQL API where REST lacks an operation, and maps its errors to those of REST.

GraphQL reports most errors with status 200 and a list; PyGithub turns it into a 400 or a 404.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from github import GithubException
from github.PullRequest import PullRequest

from utils.github.refusal import Refusal

_ACCEPTED = "x-accepted-oauth-scopes"
_SCOPES_NEEDED = re.compile(r"requires one of the following scopes: \[([^\]]{0,500})\]")
_STATUSES = {
    "FORBIDDEN": 403,
    "INSUFFICIENT_SCOPES": 403,
    "NOT_FOUND": 404,
    "UNPROCESSABLE": 422,
    "RATE_LIMIT": 429,
    "RATE_LIMITED": 429,
}
_FAILED = 500


def as_rest(refusal: Refusal, types: Iterable[object]) -> Refusal:
    """Return the refusal that the REST API would send for GraphQL errors of these types.

    Errors of another type, or of none, count as GitHub's own failures (500).
    """
    status = next((_STATUSES[name] for name in map(str, types) if name in _STATUSES), _FAILED)
    # The header names a scope for everything, the message only the scopes that are needed.
    headers = {name: value for name, value in refusal.headers.items() if name != _ACCEPTED}
    if needed := _SCOPES_NEEDED.search(refusal.message):
        headers[_ACCEPTED] = needed[1].replace("'", "")
    return replace(refusal, status=status, headers=headers)


def set_draft(pull: PullRequest, *, is_draft: bool) -> None:
    """Convert a pull request to a draft, or mark it ready; send nothing if it already is.

    Raises PyGithub's exceptions.
    """
    if bool(pull.draft) == is_draft:
        return
    if pull.requester.auth is None:
        # GraphQL refuses anonymous requests, and may call that a rate limit.
        raise GithubException(401, {"message": "Requires authentication"})
    if is_draft:
        pull.convert_to_draft()
    else:
        pull.mark_ready_for_review()
