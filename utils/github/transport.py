"""HTTP transport to GitHub: short timeouts, few retries, and no other host."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from github import Auth, Github, GithubIntegration
from urllib3 import BaseHTTPResponse, Retry
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, ReadTimeoutError

from utils.errors import Forbidden
from utils.github.errors import RepositoryMoved

TIMEOUT_SECONDS = 8
"""Longest wait for a connection, and for the next part of an answer: pages wait 30 s for all."""

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
    """Asks once more where nothing was done or doing it twice is the same, and waits for no limit.

    PyGithub's own would sleep until a rate limit ends. A request that is sent elsewhere raises
    `RepositoryMoved`: PyGithub follows a 301 without its query, and takes a 307 for an answer.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**(_POLICY | options))

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:  # noqa: FBT001, FBT002 - urllib3's
        """Look at each answer that moves the request, whatever its method."""
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
        """Return what is left after a failure. Raises `RepositoryMoved`, or what ended it."""
        if response is not None and response.status in _MOVED:
            response.drain_conn()
            raise RepositoryMoved(_repository_id(response.headers.get("Location", "")))
        if _pool is not None and isinstance(error, ConnectTimeoutError | ReadTimeoutError):
            raise MaxRetryError(_pool, url or "", error)  # it has taken long enough
        return super().increment(method, url, response, error, _pool, _stacktrace)


def _repository_id(location: str) -> int | None:
    found = _REPOSITORY_ID.search(urlsplit(location).path)
    return int(found[1]) if found else None


def connect(api_url: str, token: str | None, timeout_seconds: int) -> Github:
    """Return a client for one token, or for nobody; close it when it is not needed any more.

    Raises `Forbidden` (`github_token_refused`) for what cannot be a token.
    """
    if token and not re.fullmatch(r"[!-~]+", token):
        raise Forbidden(
            "The GitHub token holds a space or another character that no token has.",
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
    """Return a client that speaks for a GitHub App itself."""
    return GithubIntegration(
        base_url=api_url,
        auth=Auth.AppAuth(app_id, private_key),
        timeout=timeout_seconds,
        **_options(),
    )


def _options() -> dict[str, Any]:
    # PyGithub waits between requests by default; a request here makes a handful, for a person.
    return {
        "retry": GitHubRetry(),
        "per_page": _PAGE_ITEMS,
        "user_agent": "async-code",
        "seconds_between_requests": None,
        "seconds_between_writes": None,
    }
