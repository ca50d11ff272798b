"""Converts values to and from Supabase's JSON, with times as text and bytes as hex."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import JSON, Table

from utils.database.rows import json_object
from utils.database.supabase.client import Supabase
from utils.database.types import CleanText, UserId, UtcDateTime, normalize_user_id, sanitize, to_utc
from utils.models.tasks import ClaimedTask, EventBatch, Json, Task, TaskStatus

Value = TypeVar("Value")

BYTES_PREFIX = "\\x"


class SupabaseVerbs:
    """Common base of the groups of verbs."""

    kind = "supabase"
    is_shared = True

    def __init__(self, supabase: Supabase, server: str) -> None:
        self.supabase = supabase
        self.server = server


def parse_timestamp(text: str) -> datetime:
    """Return a moment, in UTC whatever zone the session is in."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def row_decoder(kind: type[Value]) -> Callable[[Json], Value]:
    """Return what makes rows into values of a kind; the columns are named like its fields."""
    # The annotations are text, as everywhere here.
    types = {field.name: str(field.type) for field in fields(kind)}  # type: ignore[arg-type]
    moments = [name for name, annotation in types.items() if annotation.startswith("datetime")]
    has_status = types.get("status") == "TaskStatus"

    def read(row: Json) -> Value:
        for name in moments:
            if row.get(name) is not None:
                row[name] = parse_timestamp(row[name])
        if has_status:
            row["status"] = TaskStatus(row["status"])
        return kind(**row)

    return read


decode_task = row_decoder(Task)


def decode_claimed_task(row: Json) -> ClaimedTask:
    """Return the value for an answer of `backend_claim_task`."""
    ciphertext = row["ciphertext"]
    return ClaimedTask(
        task=decode_task(row["task"]),
        ciphertext=ciphertext and bytes.fromhex(ciphertext.removeprefix(BYTES_PREFIX)),
        user_token=row["user_token"],
        last_sequence=row["last_sequence"],
        preferences=json_object(row["preferences"]),
        project_settings=json_object(row["project_settings"]),
    )


def column_names(table: Table, kind: type[object]) -> str:
    """Return the columns that a kind of value is made of, as a select names them."""
    names = (field.name for field in fields(kind))  # type: ignore[arg-type]
    return ",".join(name for name in names if name in table.c)


def encode_columns(table: Table, values: Mapping[str, Any]) -> Json:
    """Return columns as they travel, cleaned as the SQL gateway cleans them."""
    return {name: _encode(table.c[name].type, value) for name, value in values.items()}


def _encode(kind: object, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(kind, UtcDateTime):
        return to_utc(value).isoformat()
    if isinstance(kind, UserId):
        return normalize_user_id(value)
    if isinstance(kind, JSON | CleanText):
        return sanitize(value)
    return value


def encode_events(batch: EventBatch) -> Json:
    """Return the arguments that stand for a batch."""
    events = [
        {
            "at": to_utc(event.at).isoformat(),
            "kind": event.kind,
            "data": sanitize(event.data),
        }
        for event in batch.events
    ]
    return {"events": events, "after_sequence": batch.after}


def encode_bytes(value: bytes | None) -> str | None:
    """Return bytes as PostgreSQL writes them."""
    return None if value is None else BYTES_PREFIX + value.hex()
