"""Makes and verifies API keys.

A key is `ac_` and 256 random bits as hexadecimal digits. The database stores its SHA-256, and its
first characters as a public prefix, by which the key is found. Every request looks its key up, so a
revoked key is refused at once, by every server on the database.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from contextlib import suppress
from datetime import UTC, datetime

from database import Database
from utils.database.shared import KEY_USE_PERIOD, account_refused
from utils.errors import Unauthenticated, Unavailable
from utils.models.users import ApiKey, Caller, NewApiKey, Scope

MARK = "ac_"
_RANDOM_BYTES = 32
_PREFIX_CHARACTERS = len(MARK) + 12


class ApiKeys:
    """Makes and verifies the API keys of all users. Safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, user_id: str, name: str, scope: Scope, expires_at: datetime | None
    ) -> tuple[str, ApiKey]:
        """Store a new key; return its text, which is nowhere else, and its row.

        A key ends with its user at the latest. Raises `NotFound`, `Conflict` (`too_many_keys`).
        """
        key = MARK + secrets.token_hex(_RANDOM_BYTES)
        expires_at = earlier(expires_at, self._database.get_user(user_id).expires_at)
        new = NewApiKey(name, key[:_PREFIX_CHARACTERS], _hash(key), scope, expires_at)
        return key, self._database.add_api_key(user_id, new)

    def verify(self, key: str) -> Caller:
        """Return the caller that a key speaks for. Raises `Unauthenticated`."""
        now = datetime.now(UTC)
        stored = self._database.find_api_key(key[:_PREFIX_CHARACTERS]) if key.isascii() else None
        if stored is None or not hmac.compare_digest(stored.key_hash, _hash(key)):
            raise Unauthenticated(
                "This API key is not valid: it is mistyped or was revoked. POST /keys and "
                "./run.sh add-user make a new one.",
                "api_key_invalid",
            )
        if stored.expires_at is not None and stored.expires_at <= now:
            raise Unauthenticated(
                "This API key has expired. POST /keys and ./run.sh add-user make a new one.",
                "api_key_expired",
            )
        if stored.is_blocked:
            raise account_refused("banned")
        self._record_use(stored, now)
        return Caller(stored.user_id, stored.scope, stored.expires_at)

    def _record_use(self, stored: ApiKey, now: datetime) -> None:
        if stored.last_used_at is None or stored.last_used_at <= now - KEY_USE_PERIOD:
            # A database that accepts no writes can still answer the request.
            with suppress(Unavailable):
                self._database.record_key_use(stored.id, now)


def is_api_key(token: str) -> bool:
    """Tell whether a Bearer token is meant as an API key; a JWT never begins like one."""
    return token.startswith(MARK)


def earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    """Return the earlier of two ends, where None means no end."""
    ends = [end for end in (one, other) if end is not None]
    return min(ends) if ends else None


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
