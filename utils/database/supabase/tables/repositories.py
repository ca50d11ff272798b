"""Reads the further repositories of tasks and stores their pull requests, through Supabase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from utils.database.schema import task_repositories
from utils.database.shared import NO_REPOSITORY
from utils.database.supabase.rows import (
    SupabaseMethods,
    decode_task,
    encode_columns,
    row_decoder,
)
from utils.database.supabase.tables.archive import missing_task
from utils.database.types import normalize_user_id
from utils.errors import NotFound
from utils.models.repositories import TaskRepository
from utils.models.tasks import Task

_decode_repository = row_decoder(TaskRepository)


class RepositoryMethods(SupabaseMethods):
    """Methods on the further repositories of tasks."""

    def list_repositories(
        self, user_id: str, task_id: int, *, with_texts: bool = False
    ) -> list[TaskRepository]:
        """See `Database`."""
        arguments = {
            "this_user": normalize_user_id(user_id),
            "this_task": task_id,
            "with_texts": with_texts,
        }
        rows = self.supabase.call("backend_list_repositories", arguments, idempotent=True)
        if rows is None:
            raise missing_task(self.supabase, user_id, task_id)
        return [_decode_repository(row) for row in rows]

    def set_repository_pull_request(
        self, user_id: str, task_id: int, position: int, fields: Mapping[str, Any]
    ) -> Task:
        """See `Database`."""
        arguments = {
            "this_user": normalize_user_id(user_id),
            "this_task": task_id,
            "this_position": position,
            "changes": encode_columns(task_repositories, fields),
        }
        answer = self.supabase.call("backend_set_repository", arguments, idempotent=True)
        if answer["outcome"] == "no_task":
            raise missing_task(self.supabase, user_id, task_id)
        if answer["outcome"] == "no_repository":
            raise NotFound(NO_REPOSITORY)
        return decode_task(answer["task"])

    def set_repository_pull_states(self, pr_url: str, pr_branch: str | None, state: str) -> int:
        """See `Database`."""
        request = (
            self.supabase.table("task_repositories")
            .update({"pr_state": state})
            .eq("pr_url", pr_url)
            .select("position")
        )
        if pr_branch is not None:
            request = request.eq("pr_branch", pr_branch)
        return len(self.supabase.rows(request, idempotent=True))
