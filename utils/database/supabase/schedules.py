"""Stores schedules, through Supabase."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from utils.database.automation_schema import schedules
from utils.database.rows import columns_of, now
from utils.database.shared import NO_SCHEDULE, USER_GONE, WITHOUT_ERROR, too_many_schedules
from utils.database.supabase.rows import SupabaseMethods, column_names, encode_columns, row_decoder
from utils.database.types import normalize_user_id, to_utc
from utils.errors import NotFound, Unauthenticated
from utils.models.schedules import NewSchedule, Schedule

_COLUMNS = column_names(schedules, Schedule)
_decode = row_decoder(Schedule)


class ScheduleMethods(SupabaseMethods):
    """Methods on schedules."""

    def add_schedule(self, user_id: str, new: NewSchedule, most: int) -> Schedule:
        """See `Database`."""
        moments = dict.fromkeys(("created_at", "updated_at"), now())
        arguments = {
            "this_user": normalize_user_id(user_id),
            "added": encode_columns(schedules, {**columns_of(new), **moments}),
            "maximum": most,
        }
        row = self.supabase.call("backend_add_schedule", arguments, idempotent=False)
        if row is None:
            raise too_many_schedules(most)
        if not row:
            raise Unauthenticated(USER_GONE)
        return _decode(row)

    def list_schedules(self, user_id: str) -> list[Schedule]:
        """See `Database`."""
        request = (
            self.supabase.table("schedules")
            .select(_COLUMNS)
            .eq("user_id", normalize_user_id(user_id))
            .order("id", desc=True)
        )
        return [_decode(row) for row in self.supabase.rows(request, idempotent=True)]

    def get_schedule(self, user_id: str, schedule_id: int) -> Schedule:
        """See `Database`."""
        request = (
            self.supabase.table("schedules")
            .select(_COLUMNS)
            .eq("id", schedule_id)
            .eq("user_id", normalize_user_id(user_id))
        )
        rows = self.supabase.rows(request, idempotent=True)
        if not rows:
            raise NotFound(NO_SCHEDULE)
        return _decode(rows[0])

    def replace_schedule(self, seen: Schedule, fields: Mapping[str, Any]) -> Schedule | None:
        """See `Database`."""
        values = {**WITHOUT_ERROR, **fields, "updated_at": now()}
        request = (
            self.supabase.table("schedules")
            .update(encode_columns(schedules, values))
            .eq("id", seen.id)
            .eq("user_id", normalize_user_id(seen.user_id))
            .eq("updated_at", to_utc(seen.updated_at).isoformat())
            .select(_COLUMNS)
        )
        rows = self.supabase.rows(request, idempotent=False)
        return _decode(rows[0]) if rows else None

    def delete_schedule(self, user_id: str, schedule_id: int) -> None:
        """See `Database`."""
        request = (
            self.supabase.table("schedules")
            .delete()
            .eq("id", schedule_id)
            .eq("user_id", normalize_user_id(user_id))
            .select("id")
        )
        if not self.supabase.rows(request, idempotent=False):
            raise NotFound(NO_SCHEDULE)

    def claim_schedule(self, until: datetime) -> Schedule | None:
        """See `Database`."""
        arguments = {"this_server": self.server, "until": to_utc(until).isoformat()}
        row = self.supabase.call("backend_claim_schedule", arguments, idempotent=True)
        return None if row is None else _decode(row)

    def end_schedule_run(self, schedule: Schedule, fields: Mapping[str, Any]) -> bool:
        """See `Database`."""
        held = encode_columns(
            schedules,
            {name: getattr(schedule, name) for name in ("id", "next_run_at", "claimed_until")},
        )
        values = {"claimed_until": None, **fields, "server": None}
        request = (
            self.supabase.table("schedules")
            .update(encode_columns(schedules, values))
            .match({**held, "server": self.server})
            .select("id")
        )
        return bool(self.supabase.rows(request, idempotent=False))
