"""Selects the GitHub token of a task: the most personal one available."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import SecretStr


class TokenSource(StrEnum):
    """The source of a token, for messages and logs."""

    REQUEST = "request"
    USER = "user"
    APP = "app"
    DEPLOYMENT = "deployment"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ChosenToken:
    """A token and where it came from; `token` is None for `NONE`."""

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

    It is the request's own, else the one the user has stored, else the GitHub App's where it is
    installed (`app_token` is asked only then, and may raise), else the deployment's default. The
    caller gives `app_token` and `deployment` only for who may use what is the server's.
    """
    for source, given in ((TokenSource.REQUEST, request), (TokenSource.USER, stored)):
        if token := _text(given):
            return ChosenToken(source, token)
    if app_token is not None and (token := app_token(full_name) or ""):
        return ChosenToken(TokenSource.APP, token)
    if token := _text(deployment):
        return ChosenToken(TokenSource.DEPLOYMENT, token)
    return ChosenToken(TokenSource.NONE, None)


def _text(secret: SecretStr | str | None) -> str:
    text = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
    return (text or "").strip()
