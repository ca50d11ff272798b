"""Declares the operations on recorded sandboxes; a part of `database.Database`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from utils.models.sandboxes import (
    NewSandbox,
    SandboxOperation,
    SandboxStatus,
    StoredOperation,
    StoredSandbox,
    TaskSandbox,
)
from utils.models.tasks import Json
from utils.models.usage import UsageRecord


class SandboxVerbs(Protocol):
    """The operations on sandboxes and on the log of what was done in them.

    The row of a task's sandbox is deleted with its task. Operations are deleted with their sandbox.
    """

    def add_sandbox(self, user_id: str, new: NewSandbox, most: int) -> StoredSandbox:
        """Insert a sandbox of this server as `created`.

        Raises `SandboxLimitReached` when the user has `most` live sandboxes that belong to no task,
        and `Unauthenticated` when the user does not exist.
        """

    def record_task_sandbox(self, new: TaskSandbox) -> bool:
        """Store that a task runs in this sandbox; False without such a task.

        A row of the same sandbox, paused or ended, is running again.
        """

    def get_sandbox(self, user_id: str, sandbox_id: int) -> StoredSandbox:
        """Return a sandbox. Raises `NotFound`."""

    def list_sandboxes(
        self,
        user_id: str,
        *,
        status: SandboxStatus | None = None,
        limit: int = 100,
        cursor: int | None = None,
    ) -> list[StoredSandbox]:
        """Return a page of sandboxes with ids below `cursor`, newest first."""

    def list_live_sandboxes(self, due: datetime | None = None) -> list[StoredSandbox]:
        """Return the sandboxes of all users that have not ended, oldest first.

        With `due` only those that belong to no task and whose time is over then.
        """

    def list_uncounted_sandboxes(self, limit: int) -> list[StoredSandbox]:
        """Return opened sandboxes that belong to no task and whose last usage is not recorded.

        They are those of all users, oldest first.
        """

    def count_sandbox(self, sandbox_id: int, record: UsageRecord, *, is_final: bool) -> bool:
        """Store what a sandbox has used, in place of its earlier record; False without it."""

    def move_sandbox(
        self,
        sandbox_id: int,
        from_statuses: Collection[SandboxStatus],
        to: SandboxStatus,
        fields: Mapping[str, Any] = {},
    ) -> StoredSandbox | None:
        """Set the status and further columns of a sandbox, if it has one of the given statuses.

        The times and the running time follow from the statuses. Returns None without a change.
        """

    def replace_sandbox_repositories(
        self, sandbox_id: int, seen: Sequence[Json], repositories: Sequence[Json]
    ) -> bool:
        """Replace what is stored of the repositories of a running sandbox (compare-and-set).

        Returns False and writes nothing when it is no longer what was `seen`.
        """

    def mark_sandboxes(
        self,
        provider: str,
        provider_ids: Collection[str],
        to: SandboxStatus,
        error: str | None = None,
    ) -> list[int]:
        """Set the status of live sandboxes with these names; return the ids of their rows.

        Rows that have this status already are left out.
        """

    def record_sandbox_operation(self, operation: SandboxOperation) -> bool:
        """Add an operation to the log of its sandbox, which was used now; False without it.

        An operation of the kind `execute` is also counted in the sandbox's row.
        """

    def list_sandbox_operations(
        self, user_id: str, sandbox_id: int, *, limit: int = 100, cursor: int | None = None
    ) -> list[StoredOperation]:
        """Return a page of operations with ids below `cursor`, newest first. Raises `NotFound`."""

    def delete_old_sandboxes(self, before: datetime, *, limit: int) -> int:
        """Delete at most `limit` sandboxes that ended before then; return their number.

        Rows of tasks stay: they are deleted with their tasks.
        """
