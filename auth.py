"""Authenticates callers; serves the sign-in endpoints under /auth.

A Bearer token authenticates its user: an API key, or an access token of this server or of Supabase.
In trust mode a bare user id is accepted too; trust mode is meant for development on one machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import get_type_hints

from flask import Blueprint, g, request

from database import Database
from utils.api.endpoint import NO_ENDPOINT, Services, endpoint
from utils.api.error_codes.shared import TOKENS
from utils.api.requests import RefreshRequest, TokenRequest
from utils.api.responses import TokenPair
from utils.auth.api_keys import ApiKeys, is_api_key
from utils.auth.tokens import Tokens
from utils.config.settings import Settings
from utils.errors import Forbidden, InvalidInput, NotFound, Unauthenticated, Unavailable
from utils.models.tasks import Json
from utils.models.users import Caller, Scope, canonical_user_id

blueprint = Blueprint("auth", __name__, url_prefix="/auth")

_PAIR = get_type_hints(TokenPair)
_MAX_KNOWN_USERS = 10_000
_SEND_BEARER = "Send an API key or an access token as Authorization: Bearer <token>"
_ADD_USER = "The operator of the server makes API keys with ./run.sh add-user <name>."
_READING_METHODS = frozenset({"GET", "HEAD"})

CHECK_SECONDS = 60.0
"""Time after which the account of a Supabase token that is used directly is checked again."""


class Callers:
    """Identifies the caller of a request; creates the user's row on the first request."""

    def __init__(
        self, settings: Settings, database: Database, tokens: Tokens, api_keys: ApiKeys
    ) -> None:
        self._settings = settings
        self._trusting = settings.trusts_user_id
        self._database = database
        self._tokens = tokens
        self._api_keys = api_keys
        # The time of the last check, for each user and session.
        self._checked: dict[tuple[str, str | None], float] = {}
        self._lock = Lock()

    def identify(self, needed: Scope | None = None) -> str:
        """Return the user id of the current request's caller, and remember the caller.

        `needed` is the scope that an API key needs, by default read for GET and run for other
        methods. Raises `Unauthenticated`, and `Forbidden` (`scope_insufficient`).
        """
        caller = self._authenticate()
        _require_scope(
            caller, needed or (Scope.READ if request.method in _READING_METHODS else Scope.RUN)
        )
        g.caller = caller
        return caller.user_id

    def identify_admin(self) -> str:
        """Return the user id of a caller who is an administrator, and remember the caller.

        Raises `NotFound` for all others: for them these endpoints do not exist. Raises also
        `Unauthenticated`, and `Forbidden` (`scope_insufficient`).
        """
        caller = self._authenticate()
        if not _is_named_administrator(self._settings, caller):
            raise NotFound(NO_ENDPOINT)
        _require_scope(caller, Scope.ADMIN)
        g.caller = caller
        return caller.user_id

    def clear_user_cache(self) -> None:
        """Clear the cache of known users, because rows may have been deleted."""
        with self._lock:
            self._checked.clear()

    def _authenticate(self) -> Caller:
        token = bearer_token()
        if token is not None:
            return self._bearer(token)
        if "HTTP_X_USER_ID" in request.environ:
            user_id = self._trusted_user(request.environ["HTTP_X_USER_ID"])
            return Caller(user_id, is_verified=False)
        raise Unauthenticated(
            f"You are not signed in. {_SEND_BEARER}. POST /auth/token returns an access token. "
            f"{_ADD_USER}",
            "token_missing",
        )

    def _bearer(self, token: str) -> Caller:
        if is_api_key(token):
            return self._api_keys.verify(token)
        verified = self._tokens.verify(token)
        account = verified.account
        if account is not None:
            key = account.user_id, account.session
            self._check(key, lambda: self._tokens.accounts.admit(account, token))
        # In trust mode a user id is enough to get a token of this server.
        is_verified = account is not None or not self._trusting
        return Caller(verified.user_id, is_verified=is_verified)

    def _trusted_user(self, header: str) -> str:
        if not self._trusting:
            raise Unauthenticated(
                f"This server does not accept X-User-ID without a token. {_SEND_BEARER}.",
                "token_missing",
            )
        user_id = canonical_user_id(header)
        if user_id is None:
            raise Unauthenticated("X-User-ID must be a UUID.", "user_id_invalid")
        self._check((user_id, "trusted"), lambda: self._database.ensure_user(user_id))
        return user_id

    def _check(self, key: tuple[str, str | None], check: Callable[[], object]) -> None:
        checked_at = self._checked.get(key)
        # The absolute value keeps a check from looking fresh after the clock was set back.
        if checked_at is not None and abs(time.time() - checked_at) < CHECK_SECONDS:
            return
        try:
            check()
        except Unavailable:
            # An outage signs nobody out who was known before it.
            if checked_at is None:
                raise
            return
        with self._lock:
            if len(self._checked) >= _MAX_KNOWN_USERS:
                self._checked.clear()
            self._checked[key] = time.time()


def is_administrator(settings: Settings, caller: Caller) -> bool:
    """Tell whether a caller may use the endpoints of administrators."""
    return _is_named_administrator(settings, caller) and caller.scope.includes(Scope.ADMIN)


def _is_named_administrator(settings: Settings, caller: Caller) -> bool:
    # In production nobody becomes an administrator by telling an id.
    is_believed = caller.is_verified or not settings.is_production
    return caller.user_id in settings.admin_user_ids and is_believed


def _require_scope(caller: Caller, needed: Scope) -> None:
    if not caller.scope.includes(needed):
        raise Forbidden(
            f"This API key has the scope {caller.scope}, and this request needs {needed}. Use "
            f"a key with the scope {needed}.",
            "scope_insufficient",
        )


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


def current_caller() -> Caller:
    """Return the caller whom `Callers.identify` has identified in this request."""
    caller: Caller = g.caller
    return caller


def optional_caller(services: Services) -> str | None:
    """Return the user id of the caller, or None for an anonymous caller in trust mode.

    For the few endpoints that older pages call anonymously. Raises `Unauthenticated`.
    """
    is_named = {"HTTP_AUTHORIZATION", "HTTP_X_USER_ID"} & request.environ.keys()
    return services.identify(None) if is_named or not services.settings.trusts_user_id else None


@blueprint.post("/token")
@endpoint(_PAIR, body=TokenRequest, public=True, errors=(*TOKENS, "rate_limited"))
def token(services: Services, body: TokenRequest) -> Json:
    """Sign in: exchange a Supabase access token for an access token and a refresh token.

    In trust mode a bare user id is enough. API keys are not exchanged: they are sent as Bearer with
    every request.
    """
    token = body.supabase_access_token or bearer_token()
    if token is None:
        return services.tokens.issue(services.database.ensure_user(_trusted_id(services, body)))
    if is_api_key(token):
        # A pair has no scope, so it would be allowed more than the key.
        raise Unauthenticated(
            "API keys are not exchanged. Send the key itself as Authorization: Bearer <key> with "
            "every request.",
            "token_invalid",
        )
    account = services.tokens.verify_supabase(token)
    return services.tokens.issue(services.tokens.accounts.admit(account, token), account)


@blueprint.post("/refresh")
@endpoint(_PAIR, body=RefreshRequest, public=True, errors=(*TOKENS, "rate_limited"))
def refresh(services: Services, body: RefreshRequest) -> Json:
    """Exchange a refresh token for a new pair.

    Tokens are single-use; if the response is lost you can retry within 30 seconds. Any other
    reuse revokes all tokens of the sign-in. Where a bare user id is believed, the token of such a
    sign-in stays valid, and the new pair has it again.
    """
    return services.tokens.refresh(body.refresh_token)


@blueprint.post("/logout")
@endpoint({}, body=RefreshRequest, public=True, errors=("rate_limited",))
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


def _trusted_id(services: Services, body: TokenRequest) -> str:
    if not services.settings.trusts_user_id:
        sign_in = (
            "Send a Supabase access token, as Bearer or as supabase_access_token."
            if services.settings.verifies_supabase
            else f"Send an API key as Authorization: Bearer <key> with every request. {_ADD_USER}"
        )
        raise Unauthenticated(
            f"This server does not accept a user id without a token. {sign_in}", "token_missing"
        )
    if body.user_id is None:
        raise InvalidInput("user_id: is required.")
    return body.user_id
