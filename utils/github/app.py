"""Gets installation tokens of a GitHub App, each for one repository and one purpose."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from threading import Lock
from typing import Any, Self
from urllib.parse import quote

from github import GithubIntegration
from github.Requester import Requester
from pydantic import SecretStr

from utils.config.groups.github import GitHubSettings
from utils.errors import ConfigurationError, Forbidden, NotFound, Unavailable
from utils.github.errors import RepositoryMoved, translating
from utils.github.refusal import busy
from utils.github.refusal_rules import APP_PERMISSION
from utils.github.transport import connect_app
from utils.models.tasks import Json

RENEW_SECONDS = 300
"""Tokens that end sooner are renewed, so that a push ends before its token."""

LEVELS = ("read", "write", "admin")
"""Levels of a permission, in ascending order."""

_WAIT_SECONDS = 3.0
# These leave time for the request that the token is for.
_TIMEOUT_SECONDS = 4
_TOTAL_SECONDS = 8
_LOCKS = 16


class Purpose(Enum):
    """The purpose of a token, which gets the permissions for it and no others."""

    READ_METADATA = auto()
    """Read the repository's metadata and who may push."""
    CLONE = auto()
    READ_PULLS = auto()
    CHANGE_PULLS = auto()
    PUSH = auto()
    """Push a branch and open its pull request; also merge, and convert drafts."""
    PUSH_WORKFLOWS = auto()
    """Like `PUSH`, with changes under `.github/workflows/`."""
    READ_CHECKS = auto()
    """Read the checks of a pull request, and the rules of its base branch."""
    READ_ISSUES = auto()
    CHANGE_ISSUES = auto()
    COMMENT = auto()
    """Comment on an issue or a pull request."""
    SET_STATUS = auto()

    @property
    def permissions(self) -> dict[str, str]:
        """The levels to request by permission; every App token may read metadata."""
        return dict(sorted({"metadata": "read", **_NEEDED[self]}.items()))


_PUSH = {"contents": "write", "pull_requests": "write"}

# Labels and comments of an issue need `issues` only, those of a pull request `pull_requests` only.
# The GraphQL API, which converts drafts, requires `contents` as well.
_NEEDED: Mapping[Purpose, Mapping[str, str]] = {
    Purpose.READ_METADATA: {},
    Purpose.CLONE: {"contents": "read"},
    Purpose.READ_PULLS: {"pull_requests": "read"},
    Purpose.CHANGE_PULLS: {"pull_requests": "write"},
    Purpose.PUSH: _PUSH,
    Purpose.PUSH_WORKFLOWS: {**_PUSH, "workflows": "write"},
    Purpose.READ_CHECKS: {
        "checks": "read",
        "contents": "read",
        "pull_requests": "read",
        "statuses": "read",
    },
    Purpose.READ_ISSUES: {"issues": "read", "pull_requests": "read"},
    Purpose.CHANGE_ISSUES: {"issues": "write"},
    Purpose.COMMENT: {"issues": "write", "pull_requests": "write"},
    Purpose.SET_STATUS: {"statuses": "write"},
}

_CacheKey = tuple[str, Purpose]


def lacking_permissions(requested: Mapping[str, str], granted: Mapping[str, Any]) -> dict[str, str]:
    """Return the requested permissions that are not granted, or only at a lower level."""
    enough = {name: LEVELS[LEVELS.index(level) :] for name, level in requested.items()}
    return {name: requested[name] for name in requested if granted.get(name) not in enough[name]}


@dataclass(frozen=True, slots=True)
class AppIdentity:
    """The id and the private key of an App."""

    api_url: str
    id: str
    key: SecretStr

    @classmethod
    def from_settings(cls, settings: GitHubSettings) -> Self:
        """Return the App of the settings. Raise `ConfigurationError` when there is none."""
        if settings.github_app_id is None or settings.github_app_private_key is None:
            raise ConfigurationError("GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY are not set.")
        return cls(settings.github_api_url, settings.github_app_id, settings.github_app_private_key)

    @contextmanager
    def client(self, timeout_seconds: int) -> Iterator[GithubIntegration]:
        """Provide a client that authenticates as the App itself.

        Raises `Unavailable` (`github_app_refused`) when GitHub refuses the id or the key.
        """
        try:
            with connect_app(
                self.api_url, self.id, self.key.get_secret_value(), timeout_seconds
            ) as client:
                yield client
        except Forbidden as error:
            if error.code != "github_token_refused":
                raise
            raise Unavailable(
                "GitHub does not accept this server as its App. GITHUB_APP_ID and "
                "GITHUB_APP_PRIVATE_KEY must belong together, and the clock must be right.",
                "github_app_refused",
            ) from None


@dataclass(frozen=True, slots=True)
class _CachedToken:
    token: str
    ends_at: float


class GitHubApp:
    """Gets and caches the tokens of one App. Safe in all threads; one of them sends the request."""

    def __init__(self, settings: GitHubSettings) -> None:
        """Raise `ConfigurationError` when there is no App in the settings."""
        self._identity = AppIdentity.from_settings(settings)
        self._cache: dict[_CacheKey, _CachedToken] = {}
        self._locks = tuple(Lock() for _ in range(_LOCKS))

    def installation_token(self, full_name: str, purpose: Purpose) -> str | None:
        """Return a token for one repository, None where the App is not installed.

        The token has the permissions for its purpose and no others. Raises `Unavailable`
        (`github_app_refused` when GitHub refuses the App's key, `github_busy` while another thread
        gets the same token or GitHub is slow) and `Forbidden` (`github_app_permission`) when the
        App was not granted the permissions for this purpose.
        """
        key = (full_name.lower(), purpose)
        with self._locked(key):
            cached = self._cache.get(key)
            if cached is None or cached.ends_at - time.time() < RENEW_SECONDS:
                cached = self._fetch(full_name, purpose)
                self._store(key, cached)
            return cached.token if cached else None

    @contextmanager
    def _locked(self, key: _CacheKey) -> Iterator[None]:
        # The wait is bounded: while GitHub is slow, each waiting thread would in turn wait for it.
        lock = self._locks[hash(key) % _LOCKS]
        if not lock.acquire(timeout=_WAIT_SECONDS):
            raise _busy()
        try:
            yield
        finally:
            lock.release()

    def invalidate(self, full_name: str) -> None:
        """Drop the cached tokens of a repository, after GitHub has refused one."""
        for purpose in Purpose:
            self._cache.pop((full_name.lower(), purpose), None)

    def _store(self, key: _CacheKey, fetched: _CachedToken | None) -> None:
        if fetched is not None:
            self._cache[key] = fetched
        now = time.time()
        for other, entry in list(self._cache.items()):
            if entry.ends_at < now:
                self._cache.pop(other, None)

    def _fetch(self, full_name: str, purpose: Purpose) -> _CachedToken | None:
        try:
            with self._identity.client(_TIMEOUT_SECONDS) as client:
                return _TokenRequests(client.requester).create_token(full_name, purpose.permissions)
        except NotFound:
            return None


class _TokenRequests:
    """Sends the requests for one token: two, and a third one if the repository has moved."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester
        self._ends_at = time.monotonic() + _TOTAL_SECONDS

    def create_token(self, full_name: str, requested: Mapping[str, str]) -> _CachedToken:
        chosen: Json = {"repositories": [full_name.rpartition("/")[2]]}
        try:
            installation = self._request("GET", f"/repos/{quote(full_name)}/installation", {"id"})
        except RepositoryMoved as moved:
            if moved.repository_id is None:
                raise
            # The redirect holds the id only; another request would be needed for the name.
            chosen = {"repository_ids": [moved.repository_id]}
            path = f"/repositories/{moved.repository_id}/installation"
            installation = self._request("GET", path, {"id"})
        path = f"/app/installations/{installation['id']}/access_tokens"
        try:
            # PyGithub's own call requests a token for all repositories of the installation.
            body = {**chosen, "permissions": requested}
            answer = self._request("POST", path, {"token", "expires_at"}, body)
        except Forbidden as error:
            if error.code != APP_PERMISSION:
                raise
            raise _permission_missing(requested, installation.get("permissions")) from None
        ends_at = datetime.fromisoformat(answer["expires_at"]).timestamp()
        return _CachedToken(str(answer["token"]), ends_at)

    def _request(self, method: str, path: str, needed: set[str], body: Json | None = None) -> Json:
        if time.monotonic() + _TIMEOUT_SECONDS > self._ends_at:
            raise _busy()
        with translating("installation"):
            _, answer = self._requester.requestJsonAndCheck(method, path, input=body)
            # PyGithub raises RuntimeError, too, for answers that are not GitHub's.
            if not isinstance(answer, dict) or not needed <= answer.keys():
                raise RuntimeError("an answer for an App lacks " + " or ".join(sorted(needed)))
            return answer


def _busy() -> Unavailable:
    return busy("GitHub is slow to create a token for this server's App")


def _permission_missing(requested: Mapping[str, str], granted: Any) -> Forbidden:
    """Return an error that names the missing permissions; all requested ones if that is unknown."""
    lacking = (
        lacking_permissions(requested, granted if isinstance(granted, dict) else {}) or requested
    )
    listed = ", ".join(f"{name}: {level}" for name, level in lacking.items())
    return Forbidden(
        f"The GitHub App lacks permissions for this repository: {listed}. Set them in the App's "
        "settings on GitHub (Permissions & events), then accept the change in its installation.",
        APP_PERMISSION,
    )


@dataclass(frozen=True, slots=True)
class AppInfo:
    """GitHub's record of an App.

    `permissions` are those of the App's settings; an installation may not have accepted them yet.
    `installations` is their number, None when GitHub does not report it.
    """

    name: str
    permissions: Mapping[str, Any]
    installations: int | None


def fetch_app_info(settings: GitHubSettings, timeout_seconds: int) -> AppInfo:
    """Return GitHub's record of the App in the settings, with one request.

    Raises what `AppIdentity` raises, and `Unavailable` (`github_unavailable`).
    """
    with AppIdentity.from_settings(settings).client(timeout_seconds) as client, translating("app"):
        _, answer = client.requester.requestJsonAndCheck("GET", "/app")
        if not isinstance(answer, dict) or not isinstance(answer.get("permissions"), dict):
            raise TypeError("an answer about an App lacks its permissions")
        installations = answer.get("installations_count")
        return AppInfo(
            str(answer.get("name")),
            answer["permissions"],
            installations if isinstance(installations, int) else None,
        )


def required_permissions() -> dict[str, str]:
    """Return the levels that an App needs for all purposes, by permission."""
    needed: dict[str, str] = {}
    for name, level in (pair for purpose in Purpose for pair in purpose.permissions.items()):
        needed[name] = max(needed.get(name, level), level, key=LEVELS.index)
    return dict(sorted(needed.items()))
