"""Implements the sign-in service of a local Supabase, as far as pages and tests need it."""

from __future__ import annotations

import hashlib
import json
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import jwt
import psycopg
from psycopg.rows import dict_row

from tests.support.supabase.keys import TOKEN_SECONDS, Json, SigningKey, user_claims

SHORTEST_PASSWORD = 6

INSERT_USER = """
INSERT INTO auth.users (id, aud, role, email, encrypted_password, email_confirmed_at,
  raw_app_meta_data, raw_user_meta_data, is_anonymous)
VALUES (%(id)s, 'authenticated', 'authenticated', %(email)s, %(password)s, now(),
  '{"provider": "email", "providers": ["email"]}', %(metadata)s, %(anonymous)s)
"""
INSERT_SESSION = "INSERT INTO auth.sessions (id, user_id) VALUES (%s, %s)"


class Refused(Exception):
    """A sign-in request was refused, with a status, a code and a text."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.body = {"code": status, "error_code": code, "msg": text}


class Accounts:
    """Manages `auth.users`; every call uses one connection with the role of the service."""

    def __init__(self, database_url: str, issuer: str) -> None:
        self._database_url = database_url
        self._issuer = issuer
        self._refresh_tokens: dict[str, str] = {}
        self.key = SigningKey("", "")
        self.accepted: list[jwt.PyJWK] = []

    def sign_up(self, body: Json) -> Json:
        """Create a user and sign them in; without an address and a password an anonymous one."""
        is_anonymous = not body.get("email") and not body.get("password")
        email, password = ("", "") if is_anonymous else _credentials(body)
        if len(password) < SHORTEST_PASSWORD and not is_anonymous:
            raise Refused(422, "weak_password", "Password should be at least 6 characters.")
        user = {
            "id": str(uuid4()),
            "email": email or None,
            "password": None if is_anonymous else _hashed(password),
            "metadata": json.dumps(body.get("data") or {}),
            "anonymous": is_anonymous,
        }
        try:
            with self._connect() as connection:
                connection.execute(INSERT_USER, user)
        except psycopg.errors.UniqueViolation:
            raise Refused(422, "user_already_exists", "User already registered") from None
        except psycopg.Error:
            # If a trigger of the project fails, the sign-up fails too.
            raise Refused(500, "unexpected_failure", "Database error saving new user") from None
        return self._session(self._user("id", user["id"]))

    def sign_in(self, body: Json) -> Json:
        """Sign a user in by e-mail address and password."""
        email, password = _credentials(body)
        user = self._user("email", email)
        if not user or not _is_hash_of(user["encrypted_password"], password):
            raise Refused(400, "invalid_credentials", "Invalid login credentials")
        _refuse_banned(user)
        return self._session(user)

    def refresh(self, body: Json) -> Json:
        """Exchange a single-use refresh token for a new session."""
        user_id = self._refresh_tokens.pop(str(body.get("refresh_token")), None)
        user = self._user("id", user_id) if user_id else None
        if not user:
            raise Refused(400, "refresh_token_not_found", "Invalid Refresh Token")
        return self._session(user)

    def show(self, token: str) -> Json:
        """Return the user of an access token."""
        claims = self._verified(token)
        user = self._user("id", claims.get("sub"))
        if not user:
            raise Refused(403, "user_not_found", "User from sub claim in JWT does not exist")
        _refuse_banned(user)
        session = claims.get("session_id")
        if session and not self._has_session(session):
            text = "Session from session_id claim in JWT does not exist"
            raise Refused(403, "session_not_found", text)
        return _shown(user)

    def change(self, token: str, body: Json) -> Json:
        """Change the password of a user, which ends all other sessions."""
        user, session = self.show(token), self._verified(token).get("session_id")
        with self._connect() as connection:
            connection.execute(
                "UPDATE auth.users SET encrypted_password = %s WHERE id = %s",
                (_hashed(str(body.get("password"))), user["id"]),
            )
            connection.execute(
                "DELETE FROM auth.sessions WHERE user_id = %s AND id <> %s", (user["id"], session)
            )
        return user

    def sign_out(self, token: str, scope: str) -> Json:
        """End the session of a token, or by default all sessions of its user."""
        user, session = self.show(token), self._verified(token).get("session_id")
        local = " AND id = %s" if scope == "local" else ""
        with self._connect() as connection:
            query = f"DELETE FROM auth.sessions WHERE user_id = %s{local}"
            connection.execute(query.encode(), (user["id"], session)[: 2 if local else 1])
        return {}

    def _has_session(self, session: str) -> bool:
        with self._connect() as connection:
            query = "SELECT id FROM auth.sessions WHERE id = %s"
            return connection.execute(query, (session,)).fetchone() is not None

    def _verified(self, token: str) -> Json:
        for key in self.accepted:
            with suppress(jwt.PyJWTError):
                algorithms = [key.algorithm_name]
                return jwt.decode(token, key, algorithms, audience="authenticated")
        raise Refused(403, "bad_jwt", "invalid JWT")

    def _connect(self) -> psycopg.Connection[Json]:
        return psycopg.connect(self._database_url, autocommit=True, row_factory=dict_row)

    def _user(self, column: str, value: Any) -> Json:
        with self._connect() as connection:
            query = f"SELECT * FROM auth.users WHERE {column} = %s"
            return connection.execute(query.encode(), (value,)).fetchone() or {}

    def _session(self, user: Json) -> Json:
        claims = user_claims(self._issuer, str(user["id"]), user["email"])
        claims["user_metadata"] = user["raw_user_meta_data"]
        claims["is_anonymous"] = user["is_anonymous"]
        with self._connect() as connection:
            connection.execute(INSERT_SESSION, (claims["session_id"], user["id"]))
        refresh_token = secrets.token_urlsafe(12)
        self._refresh_tokens[refresh_token] = str(user["id"])
        return {
            "access_token": self.key.sign(claims),
            "token_type": "bearer",
            "expires_in": TOKEN_SECONDS,
            "expires_at": claims["exp"],
            "refresh_token": refresh_token,
            "user": _shown(user),
        }


def _credentials(body: Json) -> tuple[str, str]:
    email, password = body.get("email"), body.get("password")
    if not isinstance(email, str) or not isinstance(password, str):
        raise Refused(400, "validation_failed", "Email and password are needed")
    return email.strip().lower(), password


def _refuse_banned(user: Json) -> None:
    if user["banned_until"] and user["banned_until"] > datetime.now(UTC):
        raise Refused(403, "user_banned", "User is banned")


def _hashed(password: str, salt: bytes = b"") -> str:
    salt = salt or secrets.token_bytes(16)
    return f"{salt.hex()}${hashlib.scrypt(password.encode(), salt=salt, n=1024, r=8, p=1).hex()}"


def _is_hash_of(stored: str | None, password: str) -> bool:
    if not stored:
        return False
    salt = bytes.fromhex(stored.partition("$")[0])
    return secrets.compare_digest(stored, _hashed(password, salt))


def _shown(user: Json) -> Json:
    names = ("created_at", "updated_at", "banned_until", "deleted_at")
    moments = {name: _iso(user[name]) for name in names if user[name]}
    return {
        "id": str(user["id"]),
        "aud": "authenticated",
        "role": "authenticated",
        "email": user["email"],
        "email_confirmed_at": _iso(user["email_confirmed_at"]),
        "app_metadata": user["raw_app_meta_data"] or {},
        "user_metadata": user["raw_user_meta_data"] or {},
        "identities": [],
        "is_anonymous": user["is_anonymous"],
        **moments,
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment else None
