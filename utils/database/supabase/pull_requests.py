"""Verbs on what GitHub knows of a task, through Supabase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from utils.database.rows import WIDE, now
from utils.database.schema import tasks
from utils.database.shared import NO_TASK
from utils.database.supabase.rows import SupabaseVerbs, read_task, sent
from utils.database.types import user_key
from utils.errors import NotFound
from utils.models.tasks import Task

_POLLED = ",".join(
    name for name in Task.__dataclass_fields__ if name not in WIDE - {"execution_metadata"}
)


class PullRequestVerbs(SupabaseVerbs):
    """Verbs on the pull requests of tasks."""

    def set_pull_request(self, user_id: str, task_id: int, fields: Mapping[str, Any]) -> Task:
        """See `Database`."""
        request = (
            self.supabase.table("tasks")
            .update(sent(tasks, {**fields, "updated_at": now()}))
            .eq("id", task_id)
            .eq("user_id", user_key(user_id))
            .select(_POLLED)
        )
        rows = self.supabase.rows(request, repeatable=True)
        if not rows:
            raise NotFound(NO_TASK)
        return read_task(rows[0])

    def tasks_of_pull_request(self, pr_url: str) -> list[Task]:
        """See `Database`."""
        request = self.supabase.table("tasks").select(_POLLED).eq("pr_url", pr_url).order("id")
        return [read_task(row) for row in self.supabase.rows(request, repeatable=True)]

    def tasks_of_branch(self, pr_branch: str, pr_number: int) -> list[Task]:
        """See `Database`."""
        all_tasks = self.supabase.table("tasks").select(_POLLED)
        request = all_tasks.eq("pr_branch", pr_branch).eq("pr_number", pr_number).order("id")
        return [read_task(row) for row in self.supabase.rows(request, repeatable=True)]
