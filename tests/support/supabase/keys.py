"""Creates the keys of a local Supabase and signs tokens with them."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import ECAlgorithm
from jwt.utils import base64url_encode

TOKEN_SECONDS = 3600
API_KEY_SECONDS = 10 * 365 * 86400

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs tokens; the id of a shared secret is empty."""

    algorithm: str
    secret: str
    key_id: str = ""

    def sign(self, claims: Json) -> str:
        """Return a token with these claims."""
        headers = {"kid": self.key_id} if self.key_id else None
        return jwt.encode(claims, self.secret, self.algorithm, headers)


class _EllipticKey:
    def __init__(self) -> None:
        self.id = str(uuid4())
        self._key: EllipticCurvePrivateKey = generate_private_key(SECP256R1())

    def signing(self) -> SigningKey:
        pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return SigningKey("ES256", pem.decode(), self.id)

    def public(self) -> Json:
        key = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {**key, "kid": self.id, "alg": "ES256", "use": "sig", "key_ops": ["verify"]}


def _new_secret() -> str:
    return secrets.token_urlsafe(32)


@dataclass(slots=True)
class ProjectKeys:
    """Holds a shared secret, and elliptic keys of which the newest one signs."""

    secret: str = field(default_factory=_new_secret)
    _elliptic: list[_EllipticKey] = field(default_factory=lambda: [_EllipticKey()])

    def signing(self, algorithm: str) -> SigningKey:
        """Return the signing key for HS256 or ES256."""
        if algorithm == "ES256":
            return self._elliptic[-1].signing()
        return SigningKey("HS256", self.secret)

    def rotate(self, *, keep_old: bool) -> None:
        """Create a new elliptic key for signing; remove the old ones unless `keep_old`."""
        self._elliptic = [*(self._elliptic if keep_old else []), _EllipticKey()]

    def published(self) -> Json:
        """Return the public key set."""
        return {"keys": [key.public() for key in self._elliptic]}

    def accepted(self) -> Json:
        """Return the key set that PostgREST trusts, which includes the secret."""
        shared = {"kty": "oct", "k": base64url_encode(self.secret.encode()).decode()}
        return {"keys": [shared, *self.published()["keys"]]}

    def api_key(self, role: str) -> str:
        """Return the long-lived key of `anon` or `service_role`."""
        now = int(time.time())
        claims = {"iss": "supabase", "ref": "local", "role": role, "iat": now}
        return self.signing("HS256").sign({**claims, "exp": now + API_KEY_SECONDS})


def user_claims(issuer: str, user_id: str, email: str | None) -> Json:
    """Return the claims of a user's access token in the format of Supabase."""
    now = int(time.time())
    return {
        "iss": issuer,
        "aud": "authenticated",
        "role": "authenticated",
        "sub": user_id,
        "email": email or "",
        "iat": now,
        "exp": now + TOKEN_SECONDS,
        "session_id": str(uuid4()),
        "aal": "aal1",
        "is_anonymous": False,
        "app_metadata": {"provider": "email", "providers": ["email"]},
        "user_metadata": {},
    }
