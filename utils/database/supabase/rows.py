"""Encodes values for Supabase and decodes rows: JSON with datetimes as text and bytes as hex."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

from sqlalchemy import JSON, Table

from utils.database.changes import Changes
from utils.database.rows import json_object, turn_from_row
from utils.database.supabase.client import Supabase
from utils.database.types import CleanText, UserId, UtcDateTime, normalize_user_id, sanitize, to_utc
from utils.models.events import EventBatch
from utils.models.runs import ClaimedTask
from utils.models.tasks import Json, Task, TaskStatus
from utils.models.turns import Turn

Value = TypeVar("Value")

BYTES_PREFIX = "\\x"


class SupabaseMethods:
    """Base of the groups of methods."""

    kind = "supabase"
    is_shared = True
    knows_accounts = True

    def __init__(self, supabase: Supabase, server: str) -> None:
        self.supabase = supabase
        self.server = server
        self.changes = Changes()

    def owned_by(self, run_id: str) -> Self:
        """See `Database`."""
        gateway = copy.copy(self)
        gateway.server = run_id
        return gateway


def parse_timestamp(text: str) -> datetime:
    """Parse a timestamp and convert it to UTC, whatever time zone the session has."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def row_decoder(kind: type[Value]) -> Callable[[Json], Value]:
    """Return a function that decodes rows to a class whose fields are named like the columns."""
    decode = value_decoder(kind)
    return lambda row: kind(**known_columns(kind, decode(row)))


def known_columns(kind: type[object], row: Json) -> Json:
    """Return the columns of a row that a class has; a newer server may have added others."""
    return {name: row[name] for name in kind.__dataclass_fields__ if name in row}  # type: ignore[attr-defined]


def value_decoder(kind: type[object]) -> Callable[[Json], Json]:
    """Return a function that decodes the columns of a class in a row, in place."""
    # Annotations are texts because of `from __future__ import annotations`.
    types = {field.name: str(field.type) for field in fields(kind)}  # type: ignore[arg-type]
    moments = [name for name, annotation in types.items() if annotation.startswith("datetime")]
    has_status = types.get("status") == "TaskStatus"

    def read(row: Json) -> Json:
        for name in moments:
            if row.get(name) is not None:
                row[name] = parse_timestamp(row[name])
        if has_status:
            row["status"] = TaskStatus(row["status"])
        return row

    return read


decode_task = row_decoder(Task)
decode_task_values = value_decoder(Task)


_decode_turn_values = value_decoder(Turn)


def decode_turn(row: Json) -> Turn:
    """Decode a turn without its diff."""
    return turn_from_row(_decode_turn_values(row))


def decode_claimed_task(row: Json) -> ClaimedTask:
    """Decode the result of `backend_claim_turn`."""
    return ClaimedTask(
        task=decode_task(row["task"]),
        ciphertext=decode_bytes(row["ciphertext"]),
        user_token=row["user_token"],
        last_sequence=row["last_sequence"],
        preferences=json_object(row["preferences"]),
        project_settings=json_object(row["project_settings"]),
        pushed_commit=row["pushed_commit"],
        turn=decode_turn(row["turn"]) if row["turn"] else None,
        is_interrupted=row["is_interrupted"],
    )


def column_names(table: Table, kind: type[object]) -> str:
    """Return the columns of a class, separated by commas for a select."""
    names = (field.name for field in fields(kind))  # type: ignore[arg-type]
    return ",".join(name for name in names if name in table.c)


def encode_columns(table: Table, values: Mapping[str, Any]) -> Json:
    """Encode columns as JSON; sanitize them as the SQL gateway does."""
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
    """Encode a batch of events as function arguments."""
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
    """Encode bytes in the hex format of PostgreSQL."""
    return None if value is None else BYTES_PREFIX + value.hex()


def decode_bytes(text: str | None) -> bytes | None:
    """Decode the hex format of PostgreSQL."""
    return None if text is None else bytes.fromhex(text.removeprefix(BYTES_PREFIX))
