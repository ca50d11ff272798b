"""Refusals of GitHub's API as values, and the errors they become.

Errors quote GitHub only where a person needs its words, such as the rules of a protected branch.
GitHub's messages hold no tokens.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from utils.error_rules import ErrorTemplate
from utils.errors import AppError, Forbidden, InvalidInput, NotFound, Unavailable

UNAVAILABLE_SECONDS = 30
"""Wait before the next try after GitHub did not answer."""

BUSY_SECONDS = 5
"""Wait before the next try while other requests to GitHub are running."""

LIMITED_SECONDS = 60
"""Wait before the next try after a rate limit whose end is not known."""

_NOT_FOUND = 404
_LIMITED_AT_MOST_SECONDS = 3_600
_REASON_CHARACTERS = 300
_NUMBER = re.compile(r"[0-9]{1,15}")
_SSO_URL = re.compile(r"url=(https://[^\s;,]+)")
_PERMISSIONS = re.compile(r"[a-z_]+=[a-z]+(?:[,;] ?[a-z_]+=[a-z]+)*")

UNAVAILABLE = (
    "GitHub did not answer, or its answer is not valid. Try again later; see "
    "https://www.githubstatus.com for outages."
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP error of GitHub's. `what` is the kind of thing the request was for."""

    status: int
    message: str
    fields: frozenset[str]
    headers: Mapping[str, str]
    what: str

    @property
    def missing_scopes(self) -> list[str]:
        """The scopes of which a classic token lacks one; empty when that is not the cause."""
        if "x-oauth-scopes" not in self.headers:
            return []
        accepted = _scopes(self.headers.get("x-accepted-oauth-scopes", ""))
        granted = set(_scopes(self.headers["x-oauth-scopes"]))
        if "repo" in granted:
            granted |= {scope for scope in accepted if scope.startswith(("public_repo", "repo:"))}
        return [] if granted.intersection(accepted) else accepted

    @property
    def reason(self) -> str:
        """GitHub's message on one line, cut to 300 characters."""
        return " ".join(self.message.split())[:_REASON_CHARACTERS].rstrip(".")


def _scopes(header: str) -> list[str]:
    return [scope for scope in header.replace(" ", "").split(",") if scope]


ErrorFactory = Callable[[Refusal], AppError]


def error_factory(kind: type[AppError], code: str, message: str) -> ErrorFactory:
    """Return a function that makes this error; the message may hold `{what}` and `{reason}`."""
    template = ErrorTemplate(kind, code, message)
    return lambda refusal: template.fill(what=refusal.what, reason=refusal.reason)


def rate_limited(refusal: Refusal) -> AppError:
    """Return the error for a request over a rate limit."""
    seconds = _wait_seconds(refusal.headers)
    return Unavailable(
        f"GitHub limits the rate of requests of this token; try again in {seconds} seconds.",
        "github_rate_limited",
        retry_after_seconds=seconds,
    )


def _wait_seconds(headers: Mapping[str, str]) -> int:
    # Secondary limits name a duration, the primary limit a moment.
    wait = LIMITED_SECONDS
    if (retry_after := _number(headers.get("retry-after", ""))) is not None:
        wait = retry_after
    elif headers.get("x-ratelimit-remaining") == "0":
        reset = _number(headers.get("x-ratelimit-reset", ""))
        wait = wait if reset is None else reset - int(time.time())
    return min(max(wait, 1), _LIMITED_AT_MOST_SECONDS)


def _number(text: str) -> int | None:
    # Not `isdigit`, which takes digits that `int` does not, and any number of them.
    return int(text) if _NUMBER.fullmatch(text) else None


def unavailable(_refusal: Refusal) -> AppError:
    """Return the error for an outage of GitHub, or an answer that cannot be understood."""
    return Unavailable(UNAVAILABLE, "github_unavailable", retry_after_seconds=UNAVAILABLE_SECONDS)


def sso_required(refusal: Refusal) -> AppError:
    """Return the error for a token that is not authorized for an organization's single sign-on."""
    url = _SSO_URL.search(refusal.headers.get("x-github-sso", ""))
    where = url[1] if url else "https://github.com/settings/tokens"
    return Forbidden(
        f"The organization requires single sign-on. Authorize this token for it: {where}",
        "github_sso_required",
    )


def scope_missing(refusal: Refusal) -> AppError:
    """Return the error for a classic token without a scope that the request needs."""
    scopes = " or ".join(refusal.missing_scopes)
    # GitHub answers 404 for everything that a token may not see.
    otherwise = f", or there is no such {refusal.what}" if refusal.status == _NOT_FOUND else ""
    return Forbidden(
        f"The GitHub token lacks the scope {scopes}{otherwise}. Add it, or send another token.",
        "github_token_scope",
    )


def permission_missing(refusal: Refusal) -> AppError:
    """Return the error for a fine-grained or App token without a permission or the repository."""
    needed = _PERMISSIONS.fullmatch(refusal.headers.get("x-accepted-github-permissions", ""))
    permissions = f" It needs: {needed[0]}." if needed else ""
    return Forbidden(
        f"The GitHub token lacks a permission for this.{permissions} Edit the token, and check "
        "that it has access to this repository.",
        "github_token_scope",
    )


def validation_failed(refusal: Refusal) -> AppError:
    """Return the error for values that GitHub refuses. It names the fields, not the values."""
    names = ", ".join(sorted(name for name in refusal.fields if re.fullmatch(r"[\w ]+", name)))
    where = f": {names}" if names else ""
    return InvalidInput(
        f"GitHub refused a value of this request{where}.", "github_validation_failed"
    )


def not_found(refusal: Refusal) -> AppError:
    """Return the error for a thing that does not exist, or that the token cannot see."""
    code = f"{refusal.what.replace(' ', '_')}_not_found"
    hint = " the token can see" if refusal.what == "repository" else ""
    return NotFound(f"GitHub has no such {refusal.what}{hint}.", code)


def busy(reason: str) -> Unavailable:
    """Return the error for a request that must wait because too many others are running."""
    return Unavailable(
        f"{reason}; try again in {BUSY_SECONDS} seconds.",
        "github_busy",
        retry_after_seconds=BUSY_SECONDS,
    )
