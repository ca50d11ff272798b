"""Calls GitHub's GraphQL API and raises its refusals as the REST API's errors.

GraphQL answers most refusals with 200 and a list of errors, of which PyGithub makes a 400 or a 404.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from github import GithubException
from github.PullRequest import PullRequest

from utils.github.refusal import Refusal

_ACCEPTED = "x-accepted-oauth-scopes"
_SCOPES_NEEDED = re.compile(r"requires one of the following scopes: \[([^\]]*)\]")
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
    """Return what the REST API would say instead of errors of these types.

    Errors of another type, or of none, are GitHub's own.
    """
    status = next((_STATUSES[name] for name in map(str, types) if name in _STATUSES), _FAILED)
    # The header names a scope that is enough for everything; the message those that are needed.
    headers = {name: value for name, value in refusal.headers.items() if name != _ACCEPTED}
    if needed := _SCOPES_NEEDED.search(refusal.message):
        headers[_ACCEPTED] = needed[1].replace("'", "")
    return replace(refusal, status=status, headers=headers)


def set_draft(pull: PullRequest, *, wanted: bool) -> None:
    """Make a pull request a draft, or ready for review. Asks nothing where it is so already.

    Raises what PyGithub raises.
    """
    if bool(pull.draft) == wanted:
        return
    if pull.requester.auth is None:
        # GraphQL answers nobody, and may call that a limit.
        raise GithubException(401, {"message": "Requires authentication"})
    if wanted:
        pull.convert_to_draft()
    else:
        pull.mark_ready_for_review()
