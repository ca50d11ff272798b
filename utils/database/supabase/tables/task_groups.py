"""Stores groups of tasks, through Supabase."""

from __future__ import annotations

from collections.abc import Sequence

from utils.database.rows import polled_task
from utils.database.schema import task_groups, tasks
from utils.database.shared import (
    NO_GROUP,
    NO_PROJECT,
    NOT_IN_GROUP,
    new_group_values,
    new_task_values,
)
from utils.database.supabase.rows import (
    SupabaseMethods,
    decode_task,
    decode_task_values,
    encode_bytes,
    encode_columns,
    row_decoder,
)
from utils.database.types import normalize_user_id, sanitize
from utils.errors import NotFound
from utils.models.task_groups import TaskGroup, TaskGroupSummary
from utils.models.tasks import NewTask, Task

_decode_group = row_decoder(TaskGroup)
_decode_summary = row_decoder(TaskGroupSummary)


class TaskGroupMethods(SupabaseMethods):
    """Methods on groups of tasks."""

    def create_task_group(self, user_id: str, new: Sequence[NewTask]) -> list[Task]:
        """See `Database`."""
        first = new[0]
        arguments = {
            "this_user": normalize_user_id(user_id),
            "this_server": self.server,
            "task_group": encode_columns(task_groups, new_group_values(first)),
            "tasks": [encode_columns(tasks, new_task_values(task)) for task in new],
            "message": {"role": "user", "content": sanitize(first.prompt)},
            "ciphertext": encode_bytes(first.encrypted_token),
            "this_key": first.request_key,
        }
        rows = self.supabase.call("backend_create_task_group", arguments, idempotent=False)
        if rows is None:
            raise NotFound(NO_PROJECT)
        return [decode_task(row) for row in rows]

    def get_task_group(self, user_id: str, group_id: int) -> TaskGroup:
        """See `Database`."""
        arguments = {"this_user": normalize_user_id(user_id), "this_group": group_id}
        row = self.supabase.call("backend_get_task_group", arguments, idempotent=True)
        if row is None:
            raise NotFound(NO_GROUP)
        row["tasks"] = tuple(polled_task(decode_task_values(task)) for task in row["tasks"])
        return _decode_group(row)

    def list_task_groups(
        self, user_id: str, *, limit: int = 100, cursor: int | None = None
    ) -> list[TaskGroupSummary]:
        """See `Database`."""
        arguments = {
            "this_user": normalize_user_id(user_id),
            "below": cursor,
            "page_size": limit,
        }
        rows = self.supabase.call("backend_list_task_groups", arguments, idempotent=True)
        return [_decode_summary(row) for row in rows]

    def choose_task(self, user_id: str, group_id: int, task_id: int) -> None:
        """See `Database`."""
        arguments = {
            "this_user": normalize_user_id(user_id),
            "this_group": group_id,
            "this_task": task_id,
        }
        answer = self.supabase.call("backend_choose_task", arguments, idempotent=True)
        if answer["outcome"] != "chosen":
            raise NotFound(NOT_IN_GROUP if answer["outcome"] == "no_task" else NO_GROUP)
