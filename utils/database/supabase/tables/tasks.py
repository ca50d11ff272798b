"""Creates, imports and reads tasks, through Supabase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from utils.database.rows import listed_task, polled_task
from utils.database.schema import task_repositories, tasks
from utils.database.shared import (
    NO_PROJECT,
    TASK_ACTIVE,
    USER_GONE,
    imported_values,
    new_repository_values,
    new_task_values,
)
from utils.database.supabase.rows import (
    SupabaseMethods,
    column_names,
    decode_task,
    decode_task_values,
    encode_bytes,
    encode_columns,
    row_decoder,
)
from utils.database.supabase.tables.archive import missing_task
from utils.database.supabase.tables.repeated_requests import delivery_arguments
from utils.database.types import normalize_user_id, sanitize
from utils.errors import Conflict, NotFound, Unauthenticated
from utils.models.tasks import (
    ALL_TASKS,
    TERMINAL_STATUSES,
    Json,
    NewTask,
    Task,
    TaskFilter,
    TaskPage,
    TaskSummary,
)

_TASK_COLUMNS = column_names(tasks, Task)
_decode_summary = row_decoder(TaskSummary)


class TaskMethods(SupabaseMethods):
    """Methods that create, import and read tasks."""

    def create_task(self, user_id: str, new: NewTask) -> Task:
        """See `Database`."""
        arguments: Json = {
            "this_user": normalize_user_id(user_id),
            "this_server": self.server,
            "task": encode_columns(tasks, new_task_values(new)),
            "message": {"role": "user", "content": sanitize(new.prompt)},
            "ciphertext": encode_bytes(new.encrypted_token),
        }
        function = "backend_create_task"
        if new.further:
            function = "backend_create_task_over"
            rows = new_repository_values(new)
            arguments["repositories"] = [encode_columns(task_repositories, one) for one in rows]
            arguments["this_key"] = new.request_key
        elif new.request_key is not None:
            function = "backend_create_task_for_request"
            arguments["this_key"] = new.request_key
        elif new.delivery is not None:
            function = "backend_create_task_once"
            arguments |= delivery_arguments(new.delivery)
        row = self.supabase.call(function, arguments, idempotent=False)
        if row is None:
            raise NotFound(NO_PROJECT)
        return decode_task(row)

    def get_task(self, user_id: str, task_id: int) -> Task:
        """See `Database`."""
        return decode_task(self._columns_of_task(user_id, task_id, _TASK_COLUMNS))

    def get_task_status(self, user_id: str, task_id: int) -> Task:
        """See `Database`."""
        arguments = {"this_user": normalize_user_id(user_id), "this_task": task_id}
        row = self.supabase.call("backend_get_task_status", arguments, idempotent=True)
        if row is None:
            raise missing_task(self.supabase, user_id, task_id)
        return polled_task(decode_task_values(row))

    def get_conversation(self, user_id: str, task_id: int) -> list[Json]:
        """See `Database`."""
        return list(self._columns_of_task(user_id, task_id, "chat_messages")["chat_messages"])

    def get_git_diff(self, user_id: str, task_id: int) -> str:
        """See `Database`."""
        return str(self._columns_of_task(user_id, task_id, "git_diff")["git_diff"] or "")

    def list_tasks(
        self,
        user_id: str,
        *,
        project_id: int | None = None,
        wanted: TaskFilter = ALL_TASKS,
        limit: int = 100,
        cursor: int | None = None,
    ) -> TaskPage:
        """See `Database`."""
        arguments = {
            "this_user": normalize_user_id(user_id),
            "this_project": project_id,
            "this_status": wanted.status and wanted.status.value,
            "this_agent": wanted.agent,
            "this_repository": wanted.repo_url,
            "this_text": wanted.text,
            "below": cursor,
            # One row more than the limit shows whether there is a next page.
            "page_size": limit + 1,
        }
        page = self.supabase.call("backend_list_tasks", arguments, idempotent=True)
        found = tuple(_decode_summary(row) for row in page["tasks"][:limit])
        next_cursor = found[-1].id if len(page["tasks"]) > limit else None
        return TaskPage(found, page["total"], next_cursor)

    def list_project_tasks(
        self, user_id: str, project_id: int, *, limit: int = 100, cursor: int | None = None
    ) -> list[Task]:
        """See `Database`."""
        arguments = {
            "this_user": normalize_user_id(user_id),
            "this_project": project_id,
            "below": cursor,
            "page_size": limit,
        }
        rows = self.supabase.call("backend_list_project_tasks", arguments, idempotent=True)
        if rows is None:
            raise NotFound(NO_PROJECT)
        return [listed_task(decode_task_values(row)) for row in rows]

    def import_tasks(self, user_id: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """See `Database`."""
        arguments = {
            "this_user": normalize_user_id(user_id),
            "projects": sorted({row["project_id"] for row in rows if row.get("project_id")}),
            "tasks": [encode_columns(tasks, imported_values(user_id, row)) for row in rows],
        }
        answer = self.supabase.call("backend_import_tasks", arguments, idempotent=True)
        if answer["outcome"] == "no_user":
            raise Unauthenticated(USER_GONE)
        if answer["outcome"] == "no_project":
            raise NotFound(NO_PROJECT)
        return int(answer["count"])

    def delete_task(self, user_id: str, task_id: int) -> None:
        """See `Database`."""
        request = (
            self.supabase.table("tasks")
            .delete()
            .eq("id", task_id)
            .eq("user_id", normalize_user_id(user_id))
            .in_("status", sorted(TERMINAL_STATUSES))
            .select("id")
        )
        if not self.supabase.rows(request, idempotent=False):
            self._columns_of_task(user_id, task_id, "id")
            raise Conflict(TASK_ACTIVE, "task_active")

    def count_tasks(self) -> dict[tuple[str, str], int]:
        """See `Database`."""
        counts = self.supabase.call("backend_count_tasks", {}, idempotent=True)
        return {(status, agent): count for status, agent, count in counts}

    def _columns_of_task(self, user_id: str, task_id: int, columns: str) -> Json:
        request = (
            self.supabase.table("tasks")
            .select(columns)
            .eq("id", task_id)
            .eq("user_id", normalize_user_id(user_id))
        )
        rows = self.supabase.rows(request, idempotent=True)
        if not rows:
            raise missing_task(self.supabase, user_id, task_id)
        return rows[0]
