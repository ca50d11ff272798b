"""Authenticates callers; serves the sign-in endpoints under /auth.

A Bearer token, the server's own or Supabase's, authenticates its user. In trust mode a bare user
id is accepted too; trust mode is meant for development on one machine.
"""

from __future__ import annotations

from threading import Lock
from typing import get_type_hints

from flask import Blueprint, request

from database import Database
from utils.api.endpoint import Services, endpoint
from utils.api.requests import RefreshRequest, TokenRequest
from utils.api.responses import TokenPair
from utils.auth.tokens import Tokens
from utils.config.settings import Settings
from utils.errors import InvalidInput, NotFound, Unauthenticated
from utils.models.tasks import Json
from utils.models.users import User, canonical_user_id

blueprint = Blueprint("auth", __name__, url_prefix="/auth")

_PAIR = get_type_hints(TokenPair)
_MAX_KNOWN_USERS = 10_000
_SEND_BEARER = "Send an access token as Authorization: Bearer <token>"


class Callers:
    """Identifies the caller of a request; creates the user's row on the first request."""

    def __init__(self, settings: Settings, database: Database, tokens: Tokens) -> None:
        self._trusting = settings.trusts_user_id
        self._database = database
        self._tokens = tokens
        self._known_users: set[str] = set()
        self._lock = Lock()

    def identify(self) -> str:
        """Return the user id of the current request's caller. Raises `Unauthenticated`."""
        token = bearer_token()
        if token is not None:
            verified = self._tokens.verify(token)
            if verified.from_supabase:
                self._ensure_user(verified.user_id, verified.email)
            return verified.user_id
        if "HTTP_X_USER_ID" in request.environ:
            return self._trusted_user(request.environ["HTTP_X_USER_ID"])
        raise Unauthenticated(
            f"You are not signed in. {_SEND_BEARER}. POST /auth/token returns one.",
            "token_missing",
        )

    def clear_user_cache(self) -> None:
        """Clear the cache of known users, because rows may have been deleted."""
        with self._lock:
            self._known_users.clear()

    def _trusted_user(self, header: str) -> str:
        if not self._trusting:
            raise Unauthenticated(
                f"This server does not accept X-User-ID without a token. {_SEND_BEARER}.",
                "token_missing",
            )
        user_id = canonical_user_id(header)
        if user_id is None:
            raise Unauthenticated("X-User-ID must be a UUID.", "user_id_invalid")
        self._ensure_user(user_id, None)
        return user_id

    def _ensure_user(self, user_id: str, email: str | None) -> None:
        if user_id in self._known_users:
            return
        self._database.ensure_user(user_id, email)
        with self._lock:
            if len(self._known_users) >= _MAX_KNOWN_USERS:
                self._known_users.clear()
            self._known_users.add(user_id)


def bearer_token() -> str | None:
    """Return the request's Bearer token, None without an Authorization header.

    Raises `Unauthenticated` for a header of another kind.
    """
    header = request.environ.get("HTTP_AUTHORIZATION")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated(
            f"The Authorization header holds no Bearer token. {_SEND_BEARER}.", "token_invalid"
        )
    return str(token.strip())


def optional_caller(services: Services) -> str | None:
    """Return the user id of the caller, or None for an anonymous caller in trust mode.

    For the few endpoints that older pages call anonymously. Raises `Unauthenticated`.
    """
    is_named = {"HTTP_AUTHORIZATION", "HTTP_X_USER_ID"} & request.environ.keys()
    return services.identify() if is_named or not services.settings.trusts_user_id else None


@blueprint.post("/token")
@endpoint(_PAIR, body=TokenRequest, public=True, errors=(401,))
def token(services: Services, body: TokenRequest) -> Json:
    """Sign in: exchange a Supabase access token for an access token and a refresh token.

    In trust mode a bare user id is enough.
    """
    return services.tokens.issue(_authenticated_user(services, body))


@blueprint.post("/refresh")
@endpoint(_PAIR, body=RefreshRequest, public=True, errors=(401,))
def refresh(services: Services, body: RefreshRequest) -> Json:
    """Exchange a refresh token for a new pair.

    Tokens are single-use; if the response is lost you can retry within 30 seconds. Any other
    reuse revokes all tokens of the sign-in.
    """
    return services.tokens.refresh(body.refresh_token)


@blueprint.post("/logout")
@endpoint({}, body=RefreshRequest, public=True)
def logout(services: Services, body: RefreshRequest) -> Json:
    """Sign out: revoke a refresh token and all other refresh tokens of the same sign-in."""
    services.tokens.revoke(body.refresh_token)
    return {}


@blueprint.get("/verify")
@endpoint({"valid": bool, "user_id": str})
def verify(services: Services, user_id: str) -> Json:
    """Check the access token and return the id of its user."""
    try:
        services.database.get_user(user_id)
    except NotFound as error:
        raise Unauthenticated(
            "This user no longer exists. Sign in again.", "user_unknown"
        ) from error
    return {"valid": True, "user_id": user_id}


def _authenticated_user(services: Services, body: TokenRequest) -> User:
    supabase_token = body.supabase_access_token or bearer_token()
    if supabase_token is not None:
        verified = services.tokens.verify_supabase(supabase_token)
        return services.database.ensure_user(verified.user_id, verified.email)
    if not services.settings.trusts_user_id:
        raise Unauthenticated(
            "This server does not accept a user id without a token. Send a Supabase access token, "
            "as Bearer or as supabase_access_token.",
            "token_missing",
        )
    if body.user_id is None:
        raise InvalidInput("user_id: is required.")
    return services.database.ensure_user(body.user_id)
