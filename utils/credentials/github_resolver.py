"""Chooses the GitHub token of a request or a task: the caller's first, the server's last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import SecretStr

from database import Database
from utils.config.settings import Settings
from utils.credentials.profiles import open_request_token, stored_token_for
from utils.credentials.vault import Vault, is_sealed
from utils.errors import AppError, Conflict, InvalidInput, TaskError
from utils.github.app import GitHubApp, Purpose
from utils.github.client import GitHub
from utils.github.transport import TIMEOUT_SECONDS


class TokenSource(StrEnum):
    """Origins of a token, for messages and logs."""

    REQUEST = "request"
    USER = "user"
    APP = "app"
    DEPLOYMENT = "deployment"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ChosenToken:
    """A token and its origin; `token` is None for `NONE`."""

    source: TokenSource
    token: str | None = field(repr=False)


def choose_token(
    full_name: str,
    *,
    request: SecretStr | str | None = None,
    stored: SecretStr | str | None = None,
    app_token: Callable[[str], str | None] | None = None,
    deployment: SecretStr | None = None,
) -> ChosenToken:
    """Return the token for a repository.

    The order is: the token of the request, the stored token of the user, the token of the GitHub
    App (`app_token` is called only then and may raise), the token of the deployment. Pass
    `app_token` and `deployment` only for callers who may use the server's tokens.
    """
    for source, given in ((TokenSource.REQUEST, request), (TokenSource.USER, stored)):
        if token := _text(given):
            return ChosenToken(source, token)
    if app_token is not None and (token := app_token(full_name) or ""):
        return ChosenToken(TokenSource.APP, token)
    if token := _text(deployment):
        return ChosenToken(TokenSource.DEPLOYMENT, token)
    return ChosenToken(TokenSource.NONE, None)


class GitHubTokenResolver:
    """Finds the GitHub token for a user and a repository. Safe to call from any thread."""

    def __init__(
        self, settings: Settings, database: Database, vault: Vault, app: GitHubApp | None
    ) -> None:
        self._settings = settings
        self._database = database
        self._vault = vault
        self._app = app

    def resolve(
        self,
        user_id: str,
        full_name: str,
        repo_url: str,
        purpose: Purpose,
        given: SecretStr | None = None,
    ) -> ChosenToken:
        """Return the user's token for a repository, or else the server's if the user may use it.

        Raises `InvalidInput` (`github_token_needed`) when there is no token, and the errors of
        `user_token` and `server_token`.
        """
        chosen = self.user_token(user_id, repo_url, given)
        if chosen.source is TokenSource.NONE:
            chosen = self.server_token(user_id, full_name, purpose)
        if chosen.source is TokenSource.NONE:
            raise token_needed()
        return chosen

    def user_token(self, user_id: str, repo_url: str, given: SecretStr | None) -> ChosenToken:
        """Return the token of the request, else the stored token of the user, else none.

        The stored token is used for repositories on GitHub only. Raises `InvalidInput` for an
        invalid token, `Conflict` (`stored_secret_unreadable`).
        """
        request = open_request_token(self._vault, user_id, given)
        # The stored token is not decrypted when the request has one.
        stored = None if request else self._stored(user_id, repo_url)
        return choose_token("", request=request, stored=stored)

    def may_use_server_token(self, user_id: str, full_name: str) -> bool:
        """Tell whether the server has credentials that a user may use for a repository."""
        settings = self._settings
        if self._app is None and settings.github_token is None:
            return False
        users, repositories = settings.github_token_users, settings.github_token_repositories
        if user_id == settings.webhook_user_id:
            is_named = True
        elif users:
            is_named = user_id in users or "*" in users
        else:
            is_named = bool(repositories) or not settings.is_production
        name = full_name.lower()
        whole_owner = f"{name.partition('/')[0]}/*"
        listed = not repositories or not {"*", name, whole_owner}.isdisjoint(repositories)
        return is_named and listed

    def server_token(self, user_id: str | None, full_name: str, purpose: Purpose) -> ChosenToken:
        """Return the GitHub App's token for a repository, else the deployment's, else none.

        None also for a user who may not use them; without a user the server itself acts. The App's
        token has only the permissions of the purpose. Raises the errors of
        `GitHubApp.installation_token`.
        """
        if user_id is not None and not self.may_use_server_token(user_id, full_name):
            return ChosenToken(TokenSource.NONE, None)
        app = self._app
        return choose_token(
            full_name,
            app_token=(lambda name: app.installation_token(name, purpose)) if app else None,
            deployment=self._settings.github_token,
        )

    @contextmanager
    def open_client(
        self, chosen: ChosenToken, full_name: str, timeout_seconds: int = TIMEOUT_SECONDS
    ) -> Iterator[GitHub]:
        """Open a GitHub client with a token, or without authentication.

        When GitHub rejects a token of the App, the cached token is dropped.
        """
        api_url = self._settings.github_api_url
        try:
            with GitHub(api_url, chosen.token, timeout_seconds=timeout_seconds) as github:
                yield github
        except AppError as error:
            from_app = self._app if chosen.source is TokenSource.APP else None
            if from_app and error.code == "github_token_refused":
                from_app.invalidate(full_name)
            raise

    def decrypt_request_token(self, user_id: str | None, given: SecretStr | None) -> str:
        """Return the token of a request, decrypted if necessary. Raises `InvalidInput`."""
        if given is None:
            raise InvalidInput(
                "github_token: is required, in the body or in the header X-GitHub-Token."
            )
        if user_id is None and is_sealed(given.get_secret_value()):
            raise InvalidInput("github_token: is encrypted for a user; sign in as this user.")
        token = open_request_token(self._vault, user_id, given) if user_id else given
        return (token or given).get_secret_value()

    def _stored(self, user_id: str, repo_url: str) -> str | None:
        stored = self._database.get_profile(user_id).github_token
        host = self._settings.github_host
        try:
            return stored_token_for(self._vault, user_id, stored, repo_url, host)
        except TaskError as error:
            raise Conflict(error.message, error.code) from None


def token_needed() -> InvalidInput:
    """Return the error for a request without any token that it may use."""
    return InvalidInput(
        "A GitHub token is required. Send github_token, or store one with PUT /users/me. It needs "
        "read and write permission for Contents and Pull requests (classic tokens: scope repo).",
        "github_token_needed",
    )


def _text(secret: SecretStr | str | None) -> str:
    text = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
    return (text or "").strip()
