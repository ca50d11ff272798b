"""Reads and deletes old tasks, and remembers which were archived, through Supabase."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from utils.database.schema import archived_tasks
from utils.database.shared import NO_TASK, task_archived
from utils.database.supabase.client import Supabase
from utils.database.supabase.rows import (
    SupabaseMethods,
    column_names,
    parse_timestamp,
    row_decoder,
)
from utils.database.types import normalize_user_id, to_utc
from utils.errors import NotFound
from utils.models.archive import ArchivedTask, ArchiveFile, TaskRecord
from utils.models.tasks import TaskMark

_TOMBSTONE = column_names(archived_tasks, ArchivedTask)
_decode_tombstone = row_decoder(ArchivedTask)
_decode_mark = row_decoder(TaskMark)
_decode_record = row_decoder(TaskRecord)


class ArchiveMethods(SupabaseMethods):
    """Methods on old tasks of all users."""

    def list_old_tasks(self, unchanged_since: datetime, *, limit: int) -> list[TaskMark]:
        """See `Database`."""
        arguments = {"since": to_utc(unchanged_since).isoformat(), "page_size": limit}
        rows = self.supabase.call("backend_list_old_tasks", arguments, idempotent=True)
        return [_decode_mark(row) for row in rows]

    def get_task_records(self, task_ids: Sequence[int], *, max_bytes: int) -> list[TaskRecord]:
        """See `Database`."""
        arguments = {"task_ids": list(task_ids), "max_bytes": max_bytes}
        rows = self.supabase.call("backend_get_task_records", arguments, idempotent=True)
        return [_decode_record(row) for row in rows]

    def delete_old_tasks(
        self, marks: Sequence[TaskMark], archived: ArchiveFile | None = None
    ) -> list[TaskMark]:
        """See `Database`."""
        arguments = {
            "marks": [
                {
                    "id": mark.id,
                    "updated_at": mark.updated_at.isoformat(),
                    "last_sequence": mark.last_sequence,
                }
                for mark in marks
            ],
            "this_file": archived and archived.name,
            "moment": archived and to_utc(archived.archived_at).isoformat(),
            "this_server": self.server,
        }
        gone = self.supabase.call("backend_delete_old_tasks", arguments, idempotent=False)
        return [mark for mark in marks if mark.id in gone]

    def find_archived_tasks(self, task_id: int) -> list[ArchivedTask]:
        """See `Database`."""
        request = self.supabase.table("archived_tasks").select(_TOMBSTONE).eq("task_id", task_id)
        return [_decode_tombstone(row) for row in self.supabase.rows(request, idempotent=True)]


def missing_task(supabase: Supabase, user_id: str, task_id: int) -> NotFound:
    """Return the error for a task that the user does not have: any more, or at all."""
    request = (
        supabase.table("archived_tasks")
        .select("archived_at")
        .eq("user_id", normalize_user_id(user_id))
        .eq("task_id", task_id)
    )
    rows = supabase.rows(request, idempotent=True)
    if not rows:
        return NotFound(NO_TASK)
    return task_archived(parse_timestamp(rows[0]["archived_at"]))
