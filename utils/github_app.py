"""Tokens of a GitHub App: each for one repository, with what a pull request needs, for an hour."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any

from utils.errors import ConfigurationError, Forbidden, NotFound, Unavailable
from utils.github_errors import RepositoryMoved, translating
from utils.github_http import connect_app
from utils.settings_github import GitHubSettings

PERMISSIONS = {
    "contents": "write",
    "issues": "write",
    "metadata": "read",
    "pull_requests": "write",
    "statuses": "write",
}

WORKFLOWS_PERMISSION = {"workflows": "write"}
"""What pushing a change under `.github/workflows/` needs beside `PERMISSIONS`."""

RENEW_SECONDS = 300
"""A token with less than this left is not handed out: a push has to end before it does."""

BUSY_SECONDS = 5
"""When to try again while another request waits for the same repository's token."""

_WAIT_SECONDS = 3.0
# Two requests, and the wait for those of another, have to leave time for what the token is for.
_TIMEOUT_SECONDS = 4
_LOCKS = 16


@dataclass(frozen=True, slots=True)
class _Kept:
    token: str
    ends_at: float


class GitHubApp:
    """Gets and remembers the tokens of one App. Safe in all threads; each repository asks once."""

    def __init__(self, settings: GitHubSettings) -> None:
        """Raise `ConfigurationError` when there is no App in the settings."""
        if settings.github_app_id is None or settings.github_app_private_key is None:
            raise ConfigurationError("GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY are not set.")
        self._api_url = settings.github_api_url
        self._id = settings.github_app_id
        self._key = settings.github_app_private_key
        self._kept: dict[tuple[str, bool], _Kept] = {}
        self._locks = tuple(Lock() for _ in range(_LOCKS))

    def token(self, full_name: str, *, workflows: bool = False) -> str | None:
        """Return a token for one repository, None where the App is not installed.

        With `workflows` it may change what is under `.github/workflows/` too. Raises `Unavailable`
        (`github_app_refused` when GitHub does not know the App's key, `github_busy` while another
        request waits for the same), `Forbidden` when the App was not granted what it asks for.
        """
        name = (full_name.lower(), workflows)
        with self._alone(name):
            kept = self._kept.get(name)
            if kept is None or kept.ends_at - time.time() < RENEW_SECONDS:
                kept = self._fetch(full_name, workflows=workflows)
                self._remember(name, kept)
            return kept.token if kept else None

    @contextmanager
    def _alone(self, name: tuple[str, bool]) -> Iterator[None]:
        # Those who wait would each wait for GitHub anew once their turn comes, one after the other.
        lock = self._locks[hash(name) % _LOCKS]
        if not lock.acquire(timeout=_WAIT_SECONDS):
            raise Unavailable(
                "GitHub is slow to give this server's App a token; try again in "
                f"{BUSY_SECONDS} seconds.",
                "github_busy",
                retry_after_seconds=BUSY_SECONDS,
            )
        try:
            yield
        finally:
            lock.release()

    def forget(self, full_name: str) -> None:
        """Drop a repository's tokens, after GitHub has refused one."""
        for workflows in (False, True):
            self._kept.pop((full_name.lower(), workflows), None)

    def _remember(self, name: tuple[str, bool], kept: _Kept | None) -> None:
        if kept is not None:
            self._kept[name] = kept
        now = time.time()
        for other, entry in list(self._kept.items()):
            if entry.ends_at < now:
                self._kept.pop(other, None)

    def _fetch(self, full_name: str, *, workflows: bool) -> _Kept | None:
        owner, _, repository = full_name.partition("/")
        try:
            with (
                connect_app(
                    self._api_url, self._id, self._key.get_secret_value(), _TIMEOUT_SECONDS
                ) as client,
                translating("installation"),
            ):
                installation = client.get_repo_installation(owner, repository)
                # PyGithub's own call gives a token for all repositories of the installation.
                _, answer = client.requester.requestJsonAndCheck(
                    "POST",
                    f"/app/installations/{installation.id}/access_tokens",
                    input={
                        "repositories": [repository],
                        "permissions": PERMISSIONS | (WORKFLOWS_PERMISSION if workflows else {}),
                    },
                )
                return _read(answer)
        except (NotFound, RepositoryMoved):
            return None
        except Forbidden as error:
            if error.code != "github_token_refused":
                raise
            raise Unavailable(
                "GitHub does not accept this server as its App: GITHUB_APP_ID and "
                "GITHUB_APP_PRIVATE_KEY must belong together, and the clock must be right.",
                "github_app_refused",
            ) from None


def _read(answer: Any) -> _Kept:
    # RuntimeError is what PyGithub raises for answers that are not GitHub's.
    if not isinstance(answer, dict) or not {"token", "expires_at"} <= answer.keys():
        raise RuntimeError("an access token lacks its token or its end")
    return _Kept(str(answer["token"]), datetime.fromisoformat(answer["expires_at"]).timestamp())
