"""An answer of GitHub's that is not what was asked for, and the errors it can become.

GitHub's own words go further only where a person needs them, as the reasons for which a branch is
protected. No token is in any of them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from utils.errors import AppError, Forbidden, InvalidInput, NotFound, Unavailable

AWAY_SECONDS = 30
"""When to try again after GitHub has not answered."""

BUSY_SECONDS = 5
"""When to try again while other requests that need GitHub are worked on."""

LIMITED_SECONDS = 60
"""When to try again after a limit, where nothing says how long it lasts."""

_NOT_FOUND = 404
_LIMITED_AT_MOST_SECONDS = 3_600
_REASON_CHARACTERS = 300
_SSO_URL = re.compile(r"url=(https://[^\s;,]+)")
_PERMISSIONS = re.compile(r"[a-z_]+=[a-z]+(?:[,;] ?[a-z_]+=[a-z]+)*")

AWAY = (
    "GitHub does not answer as it should; try again later. https://www.githubstatus.com says more."
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of GitHub's that is not what was asked for. `what` was asked for."""

    status: int
    message: str
    fields: frozenset[str]
    headers: Mapping[str, str]
    what: str

    @property
    def missing_scopes(self) -> list[str]:
        """Scopes of which a classic token needs one and has none; empty when that is not it."""
        if "x-oauth-scopes" not in self.headers:
            return []
        accepted = _scopes(self.headers.get("x-accepted-oauth-scopes", ""))
        granted = set(_scopes(self.headers["x-oauth-scopes"]))
        if "repo" in granted:
            granted |= {scope for scope in accepted if scope.startswith(("public_repo", "repo:"))}
        return [] if granted.intersection(accepted) else accepted

    @property
    def reason(self) -> str:
        """GitHub's own words on one line, cut to a length for people."""
        return " ".join(self.message.split())[:_REASON_CHARACTERS].rstrip(".")


def _scopes(header: str) -> list[str]:
    return [scope for scope in header.replace(" ", "").split(",") if scope]


Make = Callable[[Refusal], AppError]


def says(kind: type[AppError], code: str, message: str) -> Make:
    """Return what makes an error with a text that may hold `{what}` and `{reason}`."""
    return lambda refusal: kind(message.format(what=refusal.what, reason=refusal.reason), code)


def limited(refusal: Refusal) -> AppError:
    """The token has asked for too much, or too quickly."""
    seconds = _wait_seconds(refusal.headers)
    return Unavailable(
        f"GitHub limits how much this token may do; try again in {seconds} seconds.",
        "github_rate_limited",
        retry_after_seconds=seconds,
    )


def _wait_seconds(headers: Mapping[str, str]) -> int:
    # The secondary limits say how long; the primary one says when, and counts down to 0.
    wait = LIMITED_SECONDS
    if headers.get("retry-after", "").isdigit():
        wait = int(headers["retry-after"])
    elif headers.get("x-ratelimit-remaining") == "0":
        reset = headers.get("x-ratelimit-reset", "")
        wait = int(reset) - int(time.time()) if reset.isdigit() else wait
    return min(max(wait, 1), _LIMITED_AT_MOST_SECONDS)


def away(_refusal: Refusal) -> AppError:
    """GitHub is down, or says nothing that can be understood."""
    return Unavailable(AWAY, "github_unavailable", retry_after_seconds=AWAY_SECONDS)


def sso(refusal: Refusal) -> AppError:
    """An organization wants a token authorized for its single sign-on."""
    url = _SSO_URL.search(refusal.headers.get("x-github-sso", ""))
    where = url[1] if url else "https://github.com/settings/tokens"
    return Forbidden(
        f"The organization wants this token to be authorized for single sign-on: {where}",
        "github_sso_required",
    )


def scope(refusal: Refusal) -> AppError:
    """A classic token lacks a scope."""
    scopes = " or ".join(refusal.missing_scopes)
    # What a token may not see does not exist for it.
    otherwise = f", or there is no such {refusal.what}" if refusal.status == _NOT_FOUND else ""
    return Forbidden(
        f"The GitHub token lacks the scope {scopes}{otherwise}. Add it, or send another token.",
        "github_token_scope",
    )


def fine_grained(refusal: Refusal) -> AppError:
    """A fine-grained token, or an App's, lacks a permission or the repository."""
    needed = _PERMISSIONS.fullmatch(refusal.headers.get("x-accepted-github-permissions", ""))
    permissions = f" It needs: {needed[0]}." if needed else ""
    return Forbidden(
        f"The GitHub token lacks a permission for this.{permissions} Edit the token, and check "
        "that it is for this repository.",
        "github_token_scope",
    )


def invalid(refusal: Refusal) -> AppError:
    """GitHub found a value wrong; only the names of the fields are told."""
    names = ", ".join(sorted(name for name in refusal.fields if re.fullmatch(r"[\w ]+", name)))
    where = f": {names}" if names else ""
    return InvalidInput(f"GitHub does not take a value of this{where}.", "github_validation_failed")


def missing(refusal: Refusal) -> AppError:
    """There is no such thing, or the token cannot see it."""
    code = f"{refusal.what.replace(' ', '_')}_not_found"
    hint = " the token can see" if refusal.what == "repository" else ""
    return NotFound(f"GitHub has no such {refusal.what}{hint}.", code)


def busy(reason: str) -> Unavailable:
    """Return the error for a request that had no turn beside others."""
    return Unavailable(
        f"{reason}; try again in {BUSY_SECONDS} seconds.",
        "github_busy",
        retry_after_seconds=BUSY_SECONDS,
    )
