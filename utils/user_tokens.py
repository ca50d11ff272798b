"""Whose GitHub token speaks in a request: the caller's own first, the server's last."""

from __future__ import annotations

from pydantic import SecretStr

from database import Database
from utils.errors import Conflict, InvalidInput, TaskError
from utils.github_app import GitHubApp
from utils.github_tokens import ChosenToken, TokenSource, choose_token
from utils.profiles import given_token, token_for
from utils.settings import Settings
from utils.vault import Vault, is_sealed


class UserTokens:
    """Finds the token for a user's request to GitHub. Safe in all threads."""

    def __init__(
        self, settings: Settings, database: Database, vault: Vault, app: GitHubApp | None
    ) -> None:
        self._settings = settings
        self._database = database
        self._vault = vault
        self._app = app

    def choose(
        self,
        user_id: str,
        full_name: str,
        repo_url: str,
        given: SecretStr | None = None,
        *,
        workflows: bool = False,
    ) -> ChosenToken:
        """Return the token for a repository on GitHub; `given` came with the request.

        With `workflows` the GitHub App's may change workflows. Raises `InvalidInput`
        (`github_token_needed`) when there is none, `Conflict` (`stored_secret_unreadable`), and
        what `GitHubApp.token` raises.
        """
        request = given_token(self._vault, user_id, given)
        app = self._app
        chosen = choose_token(
            full_name,
            request=request,
            # One that is not needed need not be readable either.
            stored=None if request else self._stored(user_id, repo_url),
            app_token=(lambda name: app.token(name, workflows=workflows)) if app else None,
            deployment=self._settings.github_token,
        )
        if chosen.source is TokenSource.NONE:
            raise InvalidInput(
                "A token for GitHub is needed. Send github_token, or store one with PUT /users/me; "
                "it needs the permissions Contents and Pull requests, read and write (classic: "
                "scope repo).",
                "github_token_needed",
            )
        return chosen

    def refused(self, chosen: ChosenToken, full_name: str) -> None:
        """Forget a token that GitHub has refused, so that the next request asks for another."""
        if self._app and chosen.source is TokenSource.APP:
            self._app.forget(full_name)

    def opened(self, user_id: str | None, given: SecretStr | None) -> str:
        """Return the token of a request in the clear. Raises `InvalidInput`."""
        if given is None:
            raise InvalidInput("github_token: must not be blank.")
        if user_id is None and is_sealed(given.get_secret_value()):
            raise InvalidInput("github_token: is encrypted for a user, who has to be signed in.")
        token = given_token(self._vault, user_id, given) if user_id else given
        return (token or given).get_secret_value()

    def _stored(self, user_id: str, repo_url: str) -> str | None:
        stored = self._database.get_profile(user_id).github_token
        host = self._settings.github_host
        try:
            return token_for(self._vault, user_id, stored, repo_url, host)
        except TaskError as error:
            raise Conflict(error.message, error.code) from None
