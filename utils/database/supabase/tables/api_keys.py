"""Stores API keys, through Supabase."""

from __future__ import annotations

from datetime import datetime

from utils.database.rows import columns_of, now
from utils.database.schema import api_keys
from utils.database.shared import KEY_USE_PERIOD, MAX_API_KEYS, NO_KEY, USER_GONE, too_many_keys
from utils.database.supabase.rows import SupabaseMethods, column_names, encode_columns, row_decoder
from utils.database.types import normalize_user_id, to_utc
from utils.errors import NotFound, Unauthenticated
from utils.models.tasks import Json
from utils.models.users import ApiKey, NewApiKey, Scope

_COLUMNS = column_names(api_keys, ApiKey)
_decode = row_decoder(ApiKey)


class ApiKeyMethods(SupabaseMethods):
    """Methods on API keys."""

    def add_api_key(self, user_id: str, new: NewApiKey) -> ApiKey:
        """See `Database`."""
        arguments = {
            "this_user": normalize_user_id(user_id),
            "added": encode_columns(api_keys, columns_of(new) | {"created_at": now()}),
            "maximum": MAX_API_KEYS,
        }
        row = self.supabase.call("backend_add_api_key", arguments, idempotent=False)
        if row is None:
            raise too_many_keys()
        if not row:
            raise Unauthenticated(USER_GONE)
        return _api_key(row)

    def find_api_key(self, prefix: str) -> ApiKey | None:
        """See `Database`."""
        arguments = {"this_prefix": prefix}
        row = self.supabase.call("backend_find_api_key", arguments, idempotent=True)
        return None if row is None else _api_key(row)

    def list_api_keys(self, user_id: str) -> list[ApiKey]:
        """See `Database`."""
        request = (
            self.supabase.table("api_keys")
            .select(_COLUMNS)
            .eq("user_id", normalize_user_id(user_id))
            .order("id", desc=True)
        )
        return [_api_key(row) for row in self.supabase.rows(request, idempotent=True)]

    def delete_api_key(self, user_id: str, key_id: int) -> ApiKey:
        """See `Database`."""
        request = (
            self.supabase.table("api_keys")
            .delete()
            .eq("id", key_id)
            .eq("user_id", normalize_user_id(user_id))
            .select(_COLUMNS)
        )
        rows = self.supabase.rows(request, idempotent=False)
        if not rows:
            raise NotFound(NO_KEY)
        return _api_key(rows[0])

    def record_key_use(self, key_id: int, moment: datetime) -> None:
        """See `Database`."""
        arguments = {
            "this_key": key_id,
            "moment": to_utc(moment).isoformat(),
            "due": to_utc(moment - KEY_USE_PERIOD).isoformat(),
        }
        self.supabase.call("backend_record_key_use", arguments, idempotent=True)

    def has_api_key(self, moment: datetime) -> bool:
        """See `Database`."""
        request = (
            self.supabase.table("api_keys")
            .select("id")
            .or_(f'expires_at.is.null,expires_at.gt."{to_utc(moment).isoformat()}"')
            .limit(1)
        )
        return bool(self.supabase.rows(request, idempotent=True))


def _api_key(row: Json) -> ApiKey:
    return _decode(row | {"scope": Scope(row["scope"])})
