"""Tokens of a GitHub App: each for one repository and one purpose, for an hour."""

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

from utils.config.github import GitHubSettings
from utils.errors import ConfigurationError, Forbidden, NotFound, Unavailable
from utils.github.errors import RepositoryMoved, translating
from utils.github.refusal import busy
from utils.github.refusal_rules import APP_PERMISSION
from utils.github.transport import connect_app
from utils.models.tasks import Json

RENEW_SECONDS = 300
"""A token with less than this left is not handed out: a push has to end before it does."""

LEVELS = ("read", "write", "admin")
"""What a permission may be, each more than the one before."""

_WAIT_SECONDS = 3.0
# The requests, and the wait for those of another, have to leave time for what the token is for.
_TIMEOUT_SECONDS = 4
_TOTAL_SECONDS = 8
_LOCKS = 16


class Purpose(Enum):
    """What a token is for; it may do that and no more."""

    LOOK = auto()
    """At what everybody who sees the repository sees, and at who may push."""
    CLONE = auto()
    READ_PULLS = auto()
    CHANGE_PULLS = auto()
    PUSH = auto()
    """A branch and its pull request; also to merge, and to turn drafts."""
    PUSH_WORKFLOWS = auto()
    """As `PUSH`, with changes under `.github/workflows/`."""
    READ_ISSUES = auto()
    CHANGE_ISSUES = auto()
    COMMENT = auto()
    """On what may be an issue or a pull request."""
    SET_STATUS = auto()

    @property
    def permissions(self) -> dict[str, str]:
        """What is asked for, by name; every token of an App may read metadata."""
        return dict(sorted({"metadata": "read", **_NEEDED[self]}.items()))


_PUSH = {"contents": "write", "pull_requests": "write"}

# GitHub takes labels and comments of an issue with `issues` alone, and those of a pull request with
# `pull_requests` alone. Its GraphQL, which turns drafts, wants `contents` as well.
_NEEDED: Mapping[Purpose, Mapping[str, str]] = {
    Purpose.LOOK: {},
    Purpose.CLONE: {"contents": "read"},
    Purpose.READ_PULLS: {"pull_requests": "read"},
    Purpose.CHANGE_PULLS: {"pull_requests": "write"},
    Purpose.PUSH: _PUSH,
    Purpose.PUSH_WORKFLOWS: {**_PUSH, "workflows": "write"},
    Purpose.READ_ISSUES: {"issues": "read", "pull_requests": "read"},
    Purpose.CHANGE_ISSUES: {"issues": "write"},
    Purpose.COMMENT: {"issues": "write", "pull_requests": "write"},
    Purpose.SET_STATUS: {"statuses": "write"},
}

_Name = tuple[str, Purpose]


def lacking_permissions(wanted: Mapping[str, str], granted: Mapping[str, Any]) -> dict[str, str]:
    """Return what of the wanted permissions is not granted, or not as much of it."""
    enough = {name: LEVELS[LEVELS.index(level) :] for name, level in wanted.items()}
    return {name: wanted[name] for name in wanted if granted.get(name) not in enough[name]}


@dataclass(frozen=True, slots=True)
class AppIdentity:
    """Who an App is, and what shows that."""

    api_url: str
    id: str
    key: SecretStr

    @classmethod
    def of(cls, settings: GitHubSettings) -> Self:
        """Return the App of the settings. Raises `ConfigurationError` when there is none."""
        if settings.github_app_id is None or settings.github_app_private_key is None:
            raise ConfigurationError("GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY are not set.")
        return cls(settings.github_api_url, settings.github_app_id, settings.github_app_private_key)

    @contextmanager
    def speaking(self, timeout_seconds: int) -> Iterator[GithubIntegration]:
        """Speak to GitHub as the App itself.

        Raises `Unavailable` (`github_app_refused`) when GitHub does not know it with this key.
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
                "GitHub does not accept this server as its App: GITHUB_APP_ID and "
                "GITHUB_APP_PRIVATE_KEY must belong together, and the clock must be right.",
                "github_app_refused",
            ) from None


@dataclass(frozen=True, slots=True)
class _CachedToken:
    token: str
    ends_at: float


class GitHubApp:
    """Gets and remembers the tokens of one App. Safe in all threads, of which one asks."""

    def __init__(self, settings: GitHubSettings) -> None:
        """Raise `ConfigurationError` when there is no App in the settings."""
        self._identity = AppIdentity.of(settings)
        self._kept: dict[_Name, _CachedToken] = {}
        self._locks = tuple(Lock() for _ in range(_LOCKS))

    def token(self, full_name: str, purpose: Purpose) -> str | None:
        """Return a token for one repository, None where the App is not installed.

        It may do what it is for and no more. Raises `Unavailable` (`github_app_refused` when GitHub
        does not know the App's key, `github_busy` while another request waits for the same, or
        GitHub is slow), `Forbidden` (`github_app_permission`) when the App was not granted what
        this purpose needs.
        """
        name = (full_name.lower(), purpose)
        with self._alone(name):
            kept = self._kept.get(name)
            if kept is None or kept.ends_at - time.time() < RENEW_SECONDS:
                kept = self._fetch(full_name, purpose)
                self._remember(name, kept)
            return kept.token if kept else None

    @contextmanager
    def _alone(self, name: _Name) -> Iterator[None]:
        # Those who wait would each wait for GitHub anew once their turn comes, one after the other.
        lock = self._locks[hash(name) % _LOCKS]
        if not lock.acquire(timeout=_WAIT_SECONDS):
            raise _busy()
        try:
            yield
        finally:
            lock.release()

    def forget(self, full_name: str) -> None:
        """Drop a repository's tokens, after GitHub has refused one."""
        for purpose in Purpose:
            self._kept.pop((full_name.lower(), purpose), None)

    def _remember(self, name: _Name, kept: _CachedToken | None) -> None:
        if kept is not None:
            self._kept[name] = kept
        now = time.time()
        for other, entry in list(self._kept.items()):
            if entry.ends_at < now:
                self._kept.pop(other, None)

    def _fetch(self, full_name: str, purpose: Purpose) -> _CachedToken | None:
        try:
            with self._identity.speaking(_TIMEOUT_SECONDS) as client:
                return _TokenRequests(client.requester).token(full_name, purpose.permissions)
        except NotFound:
            return None


class _TokenRequests:
    """The requests for one token: two, and a third one where the repository has moved."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester
        self._ends_at = time.monotonic() + _TOTAL_SECONDS

    def token(self, full_name: str, wanted: Mapping[str, str]) -> _CachedToken:
        chosen: Json = {"repositories": [full_name.rpartition("/")[2]]}
        try:
            installation = self._ask("GET", f"/repos/{quote(full_name)}/installation", {"id"})
        except RepositoryMoved as moved:
            if moved.repository_id is None:
                raise
            # Its name would have to be asked for, and its number stays.
            chosen = {"repository_ids": [moved.repository_id]}
            path = f"/repositories/{moved.repository_id}/installation"
            installation = self._ask("GET", path, {"id"})
        path = f"/app/installations/{installation['id']}/access_tokens"
        try:
            # PyGithub's own call gives a token for all repositories of the installation.
            body = {**chosen, "permissions": wanted}
            answer = self._ask("POST", path, {"token", "expires_at"}, body)
        except Forbidden as error:
            if error.code != APP_PERMISSION:
                raise
            raise _lacks(wanted, installation.get("permissions")) from None
        ends_at = datetime.fromisoformat(answer["expires_at"]).timestamp()
        return _CachedToken(str(answer["token"]), ends_at)

    def _ask(self, method: str, path: str, needed: set[str], body: Json | None = None) -> Json:
        if time.monotonic() + _TIMEOUT_SECONDS > self._ends_at:
            raise _busy()
        with translating("installation"):
            _, answer = self._requester.requestJsonAndCheck(method, path, input=body)
            # RuntimeError is what PyGithub raises for answers that are not GitHub's.
            if not isinstance(answer, dict) or not needed <= answer.keys():
                raise RuntimeError("an answer for an App lacks " + " or ".join(sorted(needed)))
            return answer


def _busy() -> Unavailable:
    return busy("GitHub is slow to give this server's App a token")


def _lacks(wanted: Mapping[str, str], granted: Any) -> Forbidden:
    """Return an error that names what of the wanted permissions is not granted, all if unknown."""
    lacking = lacking_permissions(wanted, granted if isinstance(granted, dict) else {}) or wanted
    listed = ", ".join(f"{name}: {level}" for name, level in lacking.items())
    return Forbidden(
        f"The GitHub App lacks permissions for this repository: {listed}. Set them in the App's "
        "settings on GitHub (Permissions & events), then accept the change in its installation.",
        APP_PERMISSION,
    )
