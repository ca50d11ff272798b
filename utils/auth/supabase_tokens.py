"""Verifies the access tokens that Supabase gives its users."""

from __future__ import annotations

from typing import Any

import jwt

from utils.auth.signing_keys import ALGORITHMS, SigningKeys
from utils.config.settings import Settings

LEEWAY_SECONDS = 10
"""By how much Supabase's clock may differ from ours."""

_AUDIENCE = "authenticated"
_ROLE = "authenticated"
_SECRET_ALGORITHM = "HS256"  # noqa: S105 - a name


class SupabaseTokens:
    """Knows what a genuine token of the configured project looks like."""

    def __init__(self, settings: Settings) -> None:
        self._secret = settings.supabase_jwt_secret
        self._keys = None if settings.jwks_url is None else SigningKeys(settings.jwks_url)
        self._issuer = settings.token_issuer

    def decode(self, token: str) -> dict[str, Any]:
        """Return the claims of a user's token.

        Raises `jwt.PyJWTError`, and `Unavailable` when the project does not answer with the key.
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
        # The project's own keys, anon and service_role, are tokens too, and speak for no user.
        if claims.get("role") != _ROLE:
            raise jwt.InvalidTokenError
        return claims

    def _key_of(self, header: dict[str, Any]) -> tuple[str | jwt.PyJWK, str]:
        # The header chooses among the keys; the key then says which algorithm it is for.
        if header.get("alg") == _SECRET_ALGORITHM and self._secret is not None:
            return self._secret.get_secret_value(), _SECRET_ALGORITHM
        key_id = header.get("kid")
        if header.get("alg") in ALGORITHMS and self._keys is not None and isinstance(key_id, str):
            key = self._keys.find(key_id)
            if key is not None:
                return key, key.algorithm_name
        raise jwt.InvalidTokenError
