"""Verifies access tokens of Supabase."""

from __future__ import annotations

from typing import Any

import jwt

from utils.auth.signing_keys import ALGORITHMS, SigningKeys
from utils.config.settings import Settings

LEEWAY_SECONDS = 10
"""Accepted difference between Supabase's clock and ours."""

_AUDIENCE = "authenticated"
_ROLE = "authenticated"
_SECRET_ALGORITHM = "HS256"  # noqa: S105 - a name


class SupabaseTokens:
    """Verifies access tokens of the configured Supabase project."""

    def __init__(self, settings: Settings) -> None:
        self._secret = settings.supabase_jwt_secret
        self._keys = None if settings.jwks_url is None else SigningKeys(settings.jwks_url)
        self._issuer = settings.token_issuer

    def decode(self, token: str) -> dict[str, Any]:
        """Verify the token of a user and return its claims.

        Raises `jwt.PyJWTError`, and `Unavailable` when the key cannot be fetched.
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
        return claims

    def _key_of(self, header: dict[str, Any]) -> tuple[str | jwt.PyJWK, str]:
        # The header selects the key; the key determines the algorithm.
        if header.get("alg") == _SECRET_ALGORITHM and self._secret is not None:
            return self._secret.get_secret_value(), _SECRET_ALGORITHM
        key_id = header.get("kid")
        if header.get("alg") in ALGORITHMS and self._keys is not None and isinstance(key_id, str):
            key = self._keys.find(key_id)
            if key is not None:
                return key, key.algorithm_name
        raise jwt.InvalidTokenError
