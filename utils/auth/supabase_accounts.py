"""Asks Supabase whether the account and the session of a user still exist.

The database of a Supabase project holds its accounts, so there the database is asked. Elsewhere the
sign-in service of the project is asked, which needs `SUPABASE_ANON_KEY`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from database import Database
from utils.auth.supabase_tokens import SupabaseUser
from utils.config.settings import Settings
from utils.database.shared import account_refused
from utils.errors import Unauthenticated, Unavailable
from utils.models.users import RefreshToken, User

ANSWER_SECONDS = 5
RETRY_AFTER_SECONDS = 5

_MAX_ANSWER_BYTES = 1_000_000

# Codes of Supabase's sign-in service, with the states of migration 0007.
_STATES = {
    "user_not_found": "missing",
    "user_banned": "banned",
    "session_not_found": "signed_out",
    "session_expired": "signed_out",
}


class SupabaseAccounts:
    """Admits users of the configured project. Safe to use from any thread."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._allow_anonymous = settings.allow_anonymous_users
        self._url = f"{settings.supabase_url}/auth/v1/user" if settings.supabase_url else None
        self._key = settings.supabase_anon_key

    def admit(self, account: SupabaseUser, token: str) -> User:
        """Return the user of a verified token; create the row if it is missing.

        Raises `Unauthenticated` when the account is deleted, banned or, unless they are allowed,
        anonymous, or when its session has ended; `Unavailable` when Supabase does not answer.
        """
        if account.is_anonymous and not self._allow_anonymous:
            raise account_refused("anonymous")
        if self._database.knows_accounts:
            return self._database.ensure_account(
                account.user_id,
                account.email,
                account.session,
                allow_anonymous=self._allow_anonymous,
            )
        if self._url is not None and self._key is not None:
            self._ask(self._url, self._key.get_secret_value(), token)
        return self._database.ensure_user(account.user_id, account.email)

    def first_refresh_token(
        self, token_hash: str, family: str, expires_at: datetime, account: SupabaseUser
    ) -> RefreshToken:
        """Return the first refresh token of a sign-in from Supabase.

        A sign-in that cannot be checked again later ends with the token that it came from.
        """
        if self._database.knows_accounts:
            return RefreshToken(
                token_hash, family, account.user_id, expires_at, account.session or ""
            )
        ends_at = datetime.fromtimestamp(account.expires_at, UTC)
        return RefreshToken(token_hash, family, account.user_id, expires_at, None, ends_at)

    def _ask(self, url: str, key: str, token: str) -> None:
        # The library takes long to import.
        import httpx

        headers = {
            "apikey": key,
            "Authorization": f"Bearer {token}",
            "Accept-Encoding": "identity",
        }
        try:
            with httpx.stream("GET", url, headers=headers, timeout=ANSWER_SECONDS) as answer:
                body = _read(answer.iter_raw())
                status = answer.status_code
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise _unavailable("Supabase does not answer") from error
        _raise_for_refusal(status, _parsed(body))


def _read(pieces: Iterator[bytes]) -> bytes:
    body = b""
    for piece in pieces:
        body += piece
        if len(body) > _MAX_ANSWER_BYTES:
            break
    return body


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _raise_for_refusal(status: int, answer: dict[str, Any]) -> None:
    if status == 200 and answer:  # noqa: PLR2004
        if _is_future(answer.get("banned_until")):
            raise account_refused("banned")
        if answer.get("deleted_at"):
            raise account_refused("missing")
        return
    state = _STATES.get(str(answer.get("error_code")))
    if state is not None:
        raise account_refused(state)
    if answer.get("error_code") in {"bad_jwt", "no_authorization"}:
        raise Unauthenticated(
            "Supabase does not accept this access token. Sign in to Supabase again.",
            "token_invalid",
        )
    raise _unavailable(f"Supabase answered with status {status}")


def _is_future(text: object) -> bool:
    if not isinstance(text, str):
        return False
    try:
        return datetime.fromisoformat(text) > datetime.now(UTC)
    except (ValueError, TypeError):
        # An end that cannot be read is an end that has not come.
        return True


def _unavailable(reason: str) -> Unavailable:
    return Unavailable(
        f"{reason}, so this account cannot be checked now; try again.",
        "sign_in_unavailable",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )
