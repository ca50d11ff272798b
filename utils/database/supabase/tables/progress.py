"""Changes the status of tasks and appends messages and events, through Supabase."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from utils.database.schema import task_repositories, task_turns, tasks
from utils.database.shared import (
    MAX_CHAT_CHARACTERS,
    MAX_CHAT_MESSAGES,
    NEXT_TURN,
    conversation_full,
    events_of_move,
    turn_values,
)
from utils.database.supabase.rows import (
    SupabaseMethods,
    decode_task,
    encode_columns,
    encode_events,
    row_decoder,
)
from utils.database.supabase.tables.archive import missing_task
from utils.database.supabase.tables.usage import encode_usage
from utils.database.types import normalize_user_id, sanitize, to_utc
from utils.models.events import NO_EVENTS, Event, EventBatch
from utils.models.tasks import Json, Task, TaskMark, TaskStatus
from utils.models.turns import TurnResult

_decode_event = row_decoder(Event)
_decode_mark = row_decoder(TaskMark)


class ProgressMethods(SupabaseMethods):
    """Methods that change the status of tasks and append to them."""

    def move_task(
        self,
        /,
        task_id: int,
        from_statuses: Collection[TaskStatus],
        to: TaskStatus,
        **fields: Any,
    ) -> Task | None:
        """See `Database`."""
        events = encode_events(events_of_move(to, fields))
        return self._move(task_id, from_statuses, to, fields, events)

    def finish_task(
        self,
        task_id: int,
        to: TaskStatus,
        fields: Mapping[str, Any],
        chat_message: Json | None,
        file_changes: Sequence[Json] = (),
        batch: EventBatch = NO_EVENTS,
        turn: TurnResult | None = None,
    ) -> Task | None:
        """See `Database`."""
        columns, changes = dict(fields), sanitize(list(file_changes)) or None
        if changes and "execution_metadata" in columns:
            metadata = columns["execution_metadata"] or {}
            columns["execution_metadata"] = {**metadata, "file_changes": changes}
            changes = None
        more = {"message": sanitize(chat_message), "file_changes": changes, **encode_events(batch)}
        if turn is None:
            return self._move(task_id, (TaskStatus.RUNNING,), to, columns, more)
        arguments = {
            "this_task": task_id,
            "this_server": self.server,
            "new_status": to,
            "changes": encode_columns(tasks, columns),
            **more,
            "turn": encode_columns(task_turns, turn_values(turn)),
            "goes_on": turn.goes_on,
            "next_fields": NEXT_TURN,
            "usage": turn.usage and encode_usage(turn.usage),
        }
        function = "backend_finish_run"
        if turn.repositories:
            function = "backend_finish_run_over"
            arguments["repositories"] = [
                encode_columns(task_repositories, one) for one in turn.repositories
            ]
        row = self.supabase.call(function, arguments, idempotent=False)
        return None if row is None else decode_task(row)

    def save_progress(
        self,
        task_id: int,
        batch: EventBatch,
        *,
        position: Json | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> bool:
        """See `Database`."""
        arguments = {
            "this_task": task_id,
            "this_server": self.server,
            "changes": encode_columns(tasks, fields or {}),
            "run_position": sanitize(position),
            **encode_events(batch),
        }
        saved: bool = self.supabase.call(
            "backend_save_progress", arguments, idempotent=is_idempotent(batch)
        )
        return saved

    def append_chat_message(self, user_id: str, task_id: int, role: str, content: str) -> Task:
        """See `Database`."""
        arguments = {
            "this_user": normalize_user_id(user_id),
            "this_task": task_id,
            "message": sanitize({"role": role, "content": content}),
            "most_messages": MAX_CHAT_MESSAGES,
            "most_characters": MAX_CHAT_CHARACTERS,
        }
        answer = self.supabase.call("backend_append_chat_message", arguments, idempotent=False)
        if answer["outcome"] == "no_task":
            raise missing_task(self.supabase, user_id, task_id)
        if answer["outcome"] == "full":
            raise conversation_full()
        return decode_task(answer["task"])

    def append_events(self, user_id: str, task_id: int, events: Sequence[Event]) -> None:
        """See `Database`."""
        arguments = {
            "this_user": normalize_user_id(user_id),
            "this_task": task_id,
            "events": encode_events(EventBatch(tuple(events)))["events"],
        }
        if not self.supabase.call("backend_add_events", arguments, idempotent=False):
            raise missing_task(self.supabase, user_id, task_id)

    def list_events(
        self, user_id: str, task_id: int, *, after: int = 0, limit: int = 500
    ) -> list[Event]:
        """See `Database`."""
        arguments = {
            "this_user": normalize_user_id(user_id),
            "this_task": task_id,
            "above": after,
            "page_size": limit,
        }
        rows = self.supabase.call("backend_list_events", arguments, idempotent=True)
        if rows is None:
            raise missing_task(self.supabase, user_id, task_id)
        return [_decode_event(row) for row in rows]

    def list_task_marks(
        self, task_ids: Sequence[int], user_ids: Sequence[str], since: datetime
    ) -> list[TaskMark]:
        """See `Database`."""
        arguments = {
            "task_ids": list(task_ids),
            "user_ids": [normalize_user_id(user_id) for user_id in user_ids],
            "since": to_utc(since).isoformat(),
        }
        rows = self.supabase.call("backend_list_task_marks", arguments, idempotent=True)
        return [_decode_mark(row) for row in rows]

    def get_task_updated_at(self, user_id: str, task_id: int) -> datetime | None:
        """See `Database`."""
        owner = normalize_user_id(user_id)
        marks = self.list_task_marks([task_id], [], datetime.now(UTC))
        return next((mark.updated_at for mark in marks if mark.user_id == owner), None)

    def _move(
        self,
        task_id: int,
        from_statuses: Collection[TaskStatus],
        to: TaskStatus,
        fields: Mapping[str, Any],
        more: Json | None = None,
    ) -> Task | None:
        arguments = {
            "this_task": task_id,
            "this_server": self.server,
            "from_statuses": sorted(from_statuses),
            "new_status": to,
            "changes": encode_columns(tasks, fields),
            **(more or {}),
        }
        row = self.supabase.call("backend_move_task", arguments, idempotent=False)
        return None if row is None else decode_task(row)


def is_idempotent(batch: EventBatch) -> bool:
    """Tell whether storing a batch twice has the same effect as storing it once."""
    return not batch.events or batch.after is not None
