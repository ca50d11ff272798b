"""Stores users, profiles and refresh tokens, through Supabase."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from utils.database.rows import columns_of, json_object, now
from utils.database.schema import refresh_tokens, users
from utils.database.shared import (
    NO_USER,
    REFRESH_TOKEN_INVALID,
    USER_GONE,
    account_refused,
    test_user_values,
)
from utils.database.supabase.rows import (
    SupabaseMethods,
    column_names,
    encode_columns,
    parse_timestamp,
    row_decoder,
)
from utils.database.types import normalize_user_id, to_utc
from utils.errors import NotFound, Unauthenticated
from utils.models.tasks import Json
from utils.models.users import REFRESH_RETRY_PERIOD, Profile, RefreshToken, User

_USER_COLUMNS = column_names(users, User)
_PROFILE_COLUMNS = column_names(users, Profile)
_decode_user = row_decoder(User)
_decode_profile = row_decoder(Profile)


class UserMethods(SupabaseMethods):
    """Methods on users, test users, profiles and refresh tokens."""

    def ensure_user(self, user_id: str, email: str | None = None) -> User:
        """See `Database`."""
        arguments = {"this_user": normalize_user_id(user_id), "this_email": email}
        return _decode_user(self.supabase.call("backend_ensure_user", arguments, idempotent=True))

    def ensure_account(
        self, user_id: str, email: str | None, session: str | None, *, allow_anonymous: bool
    ) -> User:
        """See `Database`."""
        arguments = {
            "this_user": normalize_user_id(user_id),
            "this_email": email,
            "this_session": session or None,
            "anonymous_allowed": allow_anonymous,
        }
        row = self.supabase.call("backend_ensure_account", arguments, idempotent=True)
        if "refused" in row:
            raise account_refused(row["refused"])
        return _decode_user(row)

    def get_user(self, user_id: str) -> User:
        """See `Database`."""
        return _decode_user(self._columns_of_user(user_id, _USER_COLUMNS))

    def get_profile(self, user_id: str) -> Profile:
        """See `Database`."""
        return _profile(self._columns_of_user(user_id, _PROFILE_COLUMNS))

    def update_profile(self, user_id: str, fields: Mapping[str, Any]) -> Profile:
        """See `Database`."""
        request = (
            self.supabase.table("users")
            .update(encode_columns(users, {**fields, "updated_at": now()}))
            .eq("id", normalize_user_id(user_id))
            .select(_PROFILE_COLUMNS)
        )
        return _profile(_only(self.supabase.rows(request, idempotent=True)))

    def replace_profile(
        self, user_id: str, seen: Profile, fields: Mapping[str, Any]
    ) -> Profile | None:
        """See `Database`."""
        arguments = {
            "this_user": normalize_user_id(user_id),
            "seen": to_utc(seen.updated_at).isoformat(),
            "changes": encode_columns(users, {**fields, "updated_at": now()}),
        }
        row = self.supabase.call("backend_replace_profile", arguments, idempotent=False)
        if row is None:
            raise NotFound(NO_USER)
        return _profile(row) if row else None

    def list_profile_ids(self, after: str | None = None, *, limit: int = 500) -> list[str]:
        """See `Database`."""
        request = (
            self.supabase.table("users")
            .select("id")
            .or_("github_token.not.is.null,preferences.not.is.null")
            .order("id")
            .limit(limit)
        )
        if after is not None:
            request = request.gt("id", normalize_user_id(after))
        return [row["id"] for row in self.supabase.rows(request, idempotent=True)]

    def create_test_user(
        self, user_id: str, email: str, metadata: Json, expires_at: datetime
    ) -> User:
        """See `Database`."""
        row = test_user_values(user_id, email, metadata, expires_at)
        request = (
            self.supabase.table("users").insert(encode_columns(users, row)).select(_USER_COLUMNS)
        )
        return _decode_user(_only(self.supabase.rows(request, idempotent=False)))

    def list_test_users(self) -> list[User]:
        """See `Database`."""
        rows = self.supabase.call("backend_list_test_users", {}, idempotent=True)
        return [_decode_user(row) for row in rows]

    def delete_test_user(self, user_id: str) -> bool:
        """See `Database`."""
        request = (
            self.supabase.table("users")
            .delete()
            .eq("id", normalize_user_id(user_id))
            .is_("is_test_user", value=True)
            .select("id")
        )
        return bool(self.supabase.rows(request, idempotent=False))

    def add_refresh_token(self, token: RefreshToken) -> None:
        """See `Database`."""
        arguments = {"token": encode_columns(refresh_tokens, columns_of(token))}
        if not self.supabase.call("backend_add_refresh_token", arguments, idempotent=False):
            raise Unauthenticated(USER_GONE)

    def rotate_refresh_token(
        self,
        token_hash: str,
        replacement_hash: str,
        expires_at: datetime,
        now: datetime,
        *,
        allow_anonymous: bool = False,
    ) -> User:
        """See `Database`."""
        arguments = {
            "this_token": token_hash,
            "replacement": replacement_hash,
            "replacement_expires_at": to_utc(expires_at).isoformat(),
            "moment": to_utc(now).isoformat(),
            "unanswered_since": to_utc(now - REFRESH_RETRY_PERIOD).isoformat(),
            "anonymous_allowed": allow_anonymous,
        }
        row = self.supabase.call("backend_rotate_refresh_token", arguments, idempotent=False)
        if row is None:
            raise Unauthenticated(REFRESH_TOKEN_INVALID)
        if "refused" in row:
            raise account_refused(row["refused"])
        return _decode_user(row)

    def extend_refresh_token(
        self, token_hash: str, expires_at: datetime, now: datetime
    ) -> User | None:
        """See `Database`."""
        request = (
            self.supabase.table("refresh_tokens")
            .update(encode_columns(refresh_tokens, {"expires_at": expires_at}))
            .eq("token_hash", token_hash)
            .gt("expires_at", to_utc(now).isoformat())
            .is_("used_at", "null")
            .is_("revoked_at", "null")
            .is_("session", "null")
            .is_("ends_at", "null")
            .select(f"owner:users({_USER_COLUMNS})")
        )
        rows = self.supabase.rows(request, idempotent=True)
        return _decode_user(rows[0]["owner"]) if rows else None

    def revoke_refresh_family(self, token_hash: str) -> None:
        """See `Database`."""
        arguments = {"this_token": token_hash}
        self.supabase.call("backend_revoke_refresh_family", arguments, idempotent=True)

    def add_stream_ticket(self, user_id: str, ticket_hash: str, expires_at: datetime) -> None:
        """See `Database`."""
        arguments = {
            "this_user": normalize_user_id(user_id),
            "this_ticket": ticket_hash,
            "ends_at": to_utc(expires_at).isoformat(),
        }
        if not self.supabase.call("backend_add_stream_ticket", arguments, idempotent=False):
            raise Unauthenticated(USER_GONE)

    def use_stream_ticket(self, ticket_hash: str, moment: datetime) -> str | None:
        """See `Database`."""
        request = (
            self.supabase.table("stream_tickets")
            .delete()
            .eq("ticket_hash", ticket_hash)
            .select("user_id,expires_at")
        )
        rows = self.supabase.rows(request, idempotent=False)
        is_valid = bool(rows) and parse_timestamp(rows[0]["expires_at"]) > moment
        return str(rows[0]["user_id"]) if is_valid else None

    def _columns_of_user(self, user_id: str, columns: str) -> Json:
        request = self.supabase.table("users").select(columns).eq("id", normalize_user_id(user_id))
        return _only(self.supabase.rows(request, idempotent=True))


def _only(rows: list[Json]) -> Json:
    if not rows:
        raise NotFound(NO_USER)
    return rows[0]


def _profile(row: Json) -> Profile:
    return _decode_profile(row | {"preferences": json_object(row["preferences"])})
