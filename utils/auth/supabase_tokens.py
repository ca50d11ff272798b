"""Verifies access tokens of Supabase."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jwt

from utils.auth.signing_keys import ALGORITHMS, SigningKeys
from utils.config.settings import Settings
from utils.models.users import canonical_user_id

LEEWAY_SECONDS = 10
"""Accepted difference between Supabase's clock and ours."""

_AUDIENCE = "authenticated"
_ROLE = "authenticated"
_SECRET_ALGORITHM = "HS256"  # noqa: S105 - a name
_MAX_EMAIL_CHARACTERS = 320
_LATEST = 250_000_000_000


@dataclass(frozen=True, slots=True)
class SupabaseUser:
    """The user that a token of Supabase names. `session` is None for a token without a session."""

    user_id: str
    email: str | None
    session: str | None
    is_anonymous: bool
    expires_at: float


class SupabaseTokens:
    """Verifies access tokens of the configured Supabase project."""

    def __init__(self, settings: Settings) -> None:
        self._secret = settings.supabase_jwt_secret
        self._keys = None if settings.jwks_url is None else SigningKeys(settings.jwks_url)
        self._issuer = settings.token_issuer

    def decode(self, token: str) -> SupabaseUser:
        """Verify the token of a user and return the user.

        Raises the errors in `UNREADABLE`, and `Unavailable` when the key cannot be fetched.
        """
        key, algorithm = self._key_of(jwt.get_unverified_header(token))
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=_AUDIENCE,
            issuer=self._issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["sub", "exp"]},
        )
        # The anon and service_role keys of the project are tokens as well, but belong to no user.
        if claims.get("role") != _ROLE:
            raise jwt.InvalidTokenError
        return SupabaseUser(
            _uuid(claims["sub"]),
            _email(claims.get("email")),
            _session(claims.get("session_id")),
            # Anything but a plain no counts as a yes.
            claims.get("is_anonymous", False) is not False,
            expiry(claims) + LEEWAY_SECONDS,
        )

    def _key_of(self, header: dict[str, Any]) -> tuple[str | jwt.PyJWK, str]:
        # The header selects the key; the key determines the algorithm.
        name, key_id = header.get("alg"), header.get("kid")
        if not isinstance(name, str):
            raise jwt.InvalidTokenError
        if name == _SECRET_ALGORITHM and self._secret is not None:
            return self._secret.get_secret_value(), _SECRET_ALGORITHM
        if name in ALGORITHMS and self._keys is not None and isinstance(key_id, str):
            key = self._keys.find(key_id)
            if key is not None:
                return key, key.algorithm_name
        raise jwt.InvalidTokenError


def expiry(claims: dict[str, Any]) -> float:
    """Return the time at which a token expires. Raises `jwt.InvalidTokenError`."""
    moment = claims["exp"]
    if isinstance(moment, bool) or not isinstance(moment, int | float):
        raise jwt.InvalidTokenError
    if not 0 < moment < _LATEST:
        raise jwt.InvalidTokenError
    return moment


def _session(claim: object) -> str | None:
    return None if claim is None or claim == "" else _uuid(claim)


def _uuid(claim: object) -> str:
    canonical = canonical_user_id(claim)
    if canonical is None:
        raise jwt.InvalidTokenError
    return canonical


def _email(claim: object) -> str | None:
    if not isinstance(claim, str) or not claim.isprintable():
        return None
    return claim if 0 < len(claim) <= _MAX_EMAIL_CHARACTERS else None
