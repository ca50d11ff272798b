"""Serves the public keys of a Supabase project and signs tokens with them."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any
from uuid import uuid4

import jwt
import time_machine
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask.testing import FlaskClient
from jwt.algorithms import get_default_algorithms
from werkzeug import Request, Response
from werkzeug.test import TestResponse

from tests.support.loopback import LoopbackServer

Json = dict[str, Any]

PATH = "/auth/v1/.well-known/jwks.json"

_GENERATORS: dict[str, Any] = {
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


class Key:
    """A key pair with an id."""

    def __init__(self, algorithm: str = "ES256") -> None:
        self.algorithm = algorithm
        self.id = str(uuid4())
        self._private = _GENERATORS[algorithm]()

    @property
    def public_pem(self) -> bytes:
        """The public key in PEM format, which attackers have too."""
        public = self._private.public_key()
        return bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    @property
    def published(self) -> Json:
        """The public key as the project publishes it."""
        described = get_default_algorithms()[self.algorithm].to_jwk(self._private.public_key())
        return {**json.loads(described), "kid": self.id, "alg": self.algorithm, "use": "sig"}

    def sign(self, claims: Json, key_id: str | None = None) -> str:
        """Return a token; with the id of another key it is forged."""
        headers = {"kid": key_id or self.id}
        return jwt.encode(claims, self._private, self.algorithm, headers)


class KeyServer(LoopbackServer):
    """Serves the keys in `keys` and counts the requests."""

    def __init__(self, *keys: Key) -> None:
        super().__init__(self._respond)
        self.keys: tuple[Key, ...] = keys
        self.others: list[Any] = []
        self.body: bytes | None = None
        self.status = 200
        self.requests = 0
        self.answering = Event()
        self.answering.set()

    def stop(self) -> None:
        """Stop the server, after the requests that wait for `answering`."""
        self.answering.set()
        super().stop()

    @property
    def issuer(self) -> str:
        """The issuer of the project's tokens."""
        return f"{self.url}/auth/v1"

    def claims(self, user_id: str, **changes: object) -> Json:
        """Return the claims of a user's token, different ones each time."""
        claims = {
            "iss": self.issuer,
            "sub": user_id,
            "aud": "authenticated",
            "role": "authenticated",
            "iat": int(time.time()),
            "exp": int(time.time()) + 3600,
            "email": "someone@example.com",
            "session_id": str(uuid4()),
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def _respond(self, request: Request) -> Response:
        self.requests += 1
        self.answering.wait(30)
        if request.path != PATH:
            return Response(status=404)
        described = [*self.others, *(key.published for key in self.keys)]
        body = json.dumps({"keys": described}).encode() if self.body is None else self.body
        return Response(body, self.status)


def call(client: FlaskClient, token: str) -> TestResponse:
    """Send a request with a token."""
    return client.get("/auth/verify", headers={"Authorization": f"Bearer {token}"})


def outcome(client: FlaskClient, token: str) -> int | str:
    """Send a token; return 200, or the error code of the refusal."""
    answer = call(client, token)
    assert (answer.status_code == 401) == ("WWW-Authenticate" in answer.headers)
    return 200 if answer.status_code == 200 else str(answer.get_json()["code"])


def later(seconds: float) -> Any:
    """Move the clock forward and freeze it, so that a slow machine makes no difference."""
    return time_machine.travel(datetime.now(UTC) + timedelta(seconds=seconds), tick=False)


def new_token(project: KeyServer, key: Key | None = None) -> str:
    """Return a token of a new user."""
    return (key or project.keys[0]).sign(project.claims(str(uuid4())))
