"""Connects to GitHub with short timeouts, at most one retry, and no redirects to other hosts."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import jwt
from github import Auth, Github, GithubIntegration
from urllib3 import BaseHTTPResponse, Retry
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, ReadTimeoutError

from utils.config.groups.github import load_app_key
from utils.errors import Forbidden
from utils.github.errors import RepositoryMoved

TIMEOUT_SECONDS = 8
"""Timeout of connecting and of each read. Web pages wait 30 s for the whole answer."""

_PAGE_ITEMS = 100
_MOVED = frozenset({301, 302, 307, 308})
_PASSING = frozenset({502, 503, 504})
_POLICY: dict[str, Any] = {
    "total": 1,
    "redirect": False,
    "status_forcelist": _PASSING | _MOVED,
    "allowed_methods": frozenset({"GET"}),
    "backoff_factor": 0.2,
    "raise_on_status": False,
    "respect_retry_after_header": False,
}
_REPOSITORY_ID = re.compile(r"/repositories/([0-9]{1,18})(?:/|$)")


class GitHubRetry(Retry):
    """Retries idempotent requests once, and never waits for the end of a rate limit.

    PyGithub's own retry sleeps until a rate limit ends. A redirect raises `RepositoryMoved`:
    PyGithub would follow a 301 without its query, and treat a 307 as the answer.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**(_POLICY | options))

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:  # noqa: FBT001, FBT002 - urllib3's
        """Return True also for every redirect, so that `increment` sees it."""
        return status_code in _MOVED or super().is_retry(method, status_code, has_retry_after)

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        """Return the retries that are left. Raise `RepositoryMoved` or the last error."""
        if response is not None and response.status in _MOVED:
            response.drain_conn()
            raise RepositoryMoved(_repository_id(response.headers.get("Location", "")))
        if _pool is not None and isinstance(error, ConnectTimeoutError | ReadTimeoutError):
            raise MaxRetryError(_pool, url or "", error)  # a second timeout would take too long
        return super().increment(method, url, response, error, _pool, _stacktrace)


def _repository_id(location: str) -> int | None:
    found = _REPOSITORY_ID.search(urlsplit(location).path)
    return int(found[1]) if found else None


def connect(api_url: str, token: str | None, timeout_seconds: int) -> Github:
    """Return a client for one token, or an anonymous one. The caller closes it.

    Raises `Forbidden` (`github_token_refused`) for a text that cannot be a token.
    """
    if token and not re.fullmatch(r"[!-~]+", token):
        raise Forbidden(
            "The GitHub token contains a space or another character that no token has.",
            "github_token_refused",
        )
    return Github(
        base_url=api_url,
        auth=Auth.Token(token) if token else None,
        lazy=True,
        timeout=timeout_seconds,
        **_options(),
    )


def connect_app(
    api_url: str, app_id: str, private_key: str, timeout_seconds: int
) -> GithubIntegration:
    """Return a client that authenticates as a GitHub App."""
    key = load_app_key(private_key)
    return GithubIntegration(
        base_url=api_url,
        auth=Auth.AppAuth(app_id, sign_func=lambda claims: jwt.encode(claims, key, "RS256")),
        timeout=timeout_seconds,
        **_options(),
    )


def _options() -> dict[str, Any]:
    # PyGithub pauses between requests by default; a request here sends only a few.
    return {
        "retry": GitHubRetry(),
        "per_page": _PAGE_ITEMS,
        "user_agent": "async-code",
        "seconds_between_requests": None,
        "seconds_between_writes": None,
    }
