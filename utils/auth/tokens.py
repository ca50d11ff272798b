"""Issues, verifies, refreshes and revokes tokens.

An access token is a JWT that is valid until it expires. A refresh token is random; the database
stores its SHA-256. It is single-use, with a short retry period in case the response is lost. Where
a bare user id is believed it stays in use: whoever has it needs no token to act as its user.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any
from uuid import uuid4

import jwt
from pydantic import SecretStr

from database import Database
from utils.auth.signing_keys import UNREADABLE
from utils.auth.supabase_accounts import SupabaseAccounts
from utils.auth.supabase_tokens import SupabaseTokens, SupabaseUser, expiry
from utils.config.settings import Settings
from utils.credentials.vault import signing_key
from utils.errors import Unauthenticated
from utils.models.tasks import Json
from utils.models.users import RefreshToken, User

_ALGORITHMS = ["HS256"]
_OWN_CLAIMS = ["user_id", "sub", "type", "iat", "exp", "jti"]
_CACHED_TOKENS = 4_096


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """The user of a verified token. A user with an `account` may have no row yet."""

    user_id: str
    expires_at: float
    account: SupabaseUser | None = None


class Tokens:
    """Issues tokens of this server; verifies its own tokens and Supabase's."""

    def __init__(
        self, settings: Settings, database: Database, check_rate: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._check_rate = check_rate
        self._database = database
        self._secret = signing_key(settings)
        self._supabase = SupabaseTokens(settings)
        self.accounts = SupabaseAccounts(settings, database)
        self._verified: OrderedDict[bytes, VerifiedToken] = OrderedDict()
        self._lock = Lock()

    def issue(self, user: User, account: SupabaseUser | None = None) -> Json:
        """Issue an access token and the first refresh token of a new family (a sign-in).

        Pass the account of a user who signed in with a token of Supabase.
        """
        now = datetime.now(UTC)
        _reject_expired_user(user, now)
        self._check_rate(user.id)
        refresh_token = secrets.token_urlsafe(32)
        first = _hash(refresh_token), str(uuid4())
        self._database.add_refresh_token(
            RefreshToken(*first, user.id, self._refresh_end(now))
            if account is None
            else self.accounts.first_refresh_token(*first, self._refresh_end(now), account)
        )
        return self._pair(user, refresh_token, now)

    def refresh(self, refresh_token: str) -> Json:
        """Exchange a refresh token for a new pair. Raises `Unauthenticated`.

        A sign-in that came from Supabase ends when the account or its session has ended there. In
        trust mode the pair of any other sign-in has the same refresh token again.
        """
        now = datetime.now(UTC)
        user = self._extend(refresh_token, now)
        if user is None:
            return self._rotate(refresh_token, now)
        return self._checked_pair(user, refresh_token, now)

    def revoke(self, refresh_token: str) -> None:
        """Revoke the family of a refresh token, which ends the sign-in."""
        self._database.revoke_refresh_family(_hash(refresh_token))

    def verify(self, token: str) -> VerifiedToken:
        """Verify an access token and return its user.

        Raises `Unauthenticated` (`token_expired`, `token_invalid`), and `Unavailable` when the key
        of a Supabase token cannot be fetched.
        """
        key = hashlib.sha256(token.encode(errors="surrogateescape")).digest()
        with self._lock:
            verified = self._verified.get(key)
        if verified is None:
            verified = self._decode(token)
            self._cache(key, verified)
        if verified.expires_at <= time.time():
            raise _expired()
        return verified

    def verify_supabase(self, token: str) -> SupabaseUser:
        """Verify a Supabase access token and return its user. Raises the errors of `verify`."""
        try:
            return self._supabase.decode(token)
        except jwt.ExpiredSignatureError as error:
            raise _expired() from error
        except UNREADABLE as error:
            raise _invalid() from error

    def _extend(self, refresh_token: str, now: datetime) -> User | None:
        if not self._settings.trusts_user_id:
            return None
        end = self._refresh_end(now)
        return self._database.extend_refresh_token(_hash(refresh_token), end, now)

    def _rotate(self, refresh_token: str, now: datetime) -> Json:
        replacement = secrets.token_urlsafe(32)
        user = self._database.rotate_refresh_token(
            _hash(refresh_token),
            _hash(replacement),
            self._refresh_end(now),
            now,
            allow_anonymous=self._settings.allow_anonymous_users,
        )
        return self._checked_pair(user, replacement, now)

    def _checked_pair(self, user: User, refresh_token: str, now: datetime) -> Json:
        _reject_expired_user(user, now)
        # A refused client may use its token again for `REFRESH_RETRY_PERIOD`.
        self._check_rate(user.id)
        return self._pair(user, refresh_token, now)

    def _cache(self, key: bytes, token: VerifiedToken) -> None:
        with self._lock:
            self._verified[key] = token
            if len(self._verified) > _CACHED_TOKENS:
                self._verified.popitem(last=False)

    def _decode(self, token: str) -> VerifiedToken:
        try:
            return self._decode_own(token)
        except jwt.ExpiredSignatureError as error:
            raise _expired() from error
        except UNREADABLE:
            account = self.verify_supabase(token)
            return VerifiedToken(account.user_id, account.expires_at, account)

    def _decode_own(self, token: str) -> VerifiedToken:
        claims = _decode(token, self._secret)
        if claims["type"] != "access" or claims["sub"] != claims["user_id"]:
            raise jwt.InvalidTokenError
        return VerifiedToken(claims["user_id"], expiry(claims))

    def _refresh_end(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self._settings.refresh_token_seconds)

    def _pair(self, user: User, refresh_token: str, now: datetime) -> Json:
        end = now + timedelta(seconds=self._settings.access_token_seconds)
        if user.expires_at is not None:
            end = min(end, user.expires_at)
        issued, expires = int(now.timestamp()), int(end.timestamp())
        claims = {
            "user_id": user.id,
            "sub": user.id,
            "type": "access",
            "iat": issued,
            "exp": expires,
            "jti": str(uuid4()),
        }
        return {
            "access_token": jwt.encode(
                claims, self._secret.get_secret_value(), algorithm=_ALGORITHMS[0]
            ),
            "refresh_token": refresh_token,
            "token_type": "Bearer",
            "expires_in": expires - issued,
        }


def _decode(token: str, secret: SecretStr) -> dict[str, Any]:
    return jwt.decode(
        token,
        secret.get_secret_value(),
        algorithms=_ALGORITHMS,
        options={"require": _OWN_CLAIMS},
    )


def _hash(refresh_token: str) -> str:
    return hashlib.sha256(refresh_token.encode()).hexdigest()


def _reject_expired_user(user: User, now: datetime) -> None:
    if user.expires_at is not None and user.expires_at <= now:
        raise Unauthenticated("This test user has expired; create a new one.", "user_expired")


def _expired() -> Unauthenticated:
    return Unauthenticated(
        "The access token has expired; get a new one at /auth/refresh.", "token_expired"
    )


def _invalid() -> Unauthenticated:
    return Unauthenticated(
        "The access token is not valid; get one at /auth/token.", "token_invalid"
    )
