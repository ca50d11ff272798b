"""Offers git in sandboxes to synchronous callers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from utils.models.runs import Changes
from utils.models.sandboxes import StoredSandbox
from utils.models.tasks import Json
from utils.pull_requests.concurrency import Deadline, KeyedLocks
from utils.sandbox_service.context import ServiceContext
from utils.sandbox_service.git import GitStatus, GitWork, Logged, find_repository
from utils.sandbox_service.publishing import OpenedPull, Publisher, PullOptions, PushOptions
from utils.sandbox_service.repositories import RepositorySource

LOCK_SECONDS = 60.0
"""Longest wait for another push from the same sandbox."""

STEP_SECONDS = 5.0

Result = TypeVar("Result")


class GitService:
    """Git in the sandboxes of users. The sandbox of another user raises `NotFound`."""

    def __init__(self, context: ServiceContext, git: GitWork, publisher: Publisher) -> None:
        self._context = context
        self._git = git
        self._publisher = publisher
        self._locks = KeyedLocks()

    def clone(self, user_id: str, sandbox_id: int, wanted: RepositorySource) -> Json:
        """See `GitWork.clone`."""
        return self._run(user_id, sandbox_id, self._git.clone, wanted)

    def status(self, user_id: str, sandbox_id: int, name: str) -> GitStatus:
        """See `GitWork.status`."""
        return self._run(user_id, sandbox_id, self._git.status, name)

    def log(self, user_id: str, sandbox_id: int, name: str, limit: int) -> list[Logged]:
        """See `GitWork.log`."""
        return self._run(user_id, sandbox_id, self._git.log, name, limit)

    def branch(self, user_id: str, sandbox_id: int, name: str, branch: str) -> str:
        """See `GitWork.branch`."""
        return self._run(user_id, sandbox_id, self._git.branch, name, branch)

    def commit(self, user_id: str, sandbox_id: int, name: str, message: str) -> str:
        """See `GitWork.commit`."""
        return self._run(user_id, sandbox_id, self._git.commit, name, message)

    def changes(self, user_id: str, sandbox_id: int, name: str) -> Changes:
        """See `GitWork.changes`."""
        return self._run(user_id, sandbox_id, self._git.changes, name, "git_diff")

    def push(self, user_id: str, sandbox_id: int, name: str, wanted: PushOptions) -> str:
        """Push all changes since the clone as one commit; return the commit."""
        with self._locked(user_id, sandbox_id):
            stored = self._context.database.get_sandbox(user_id, sandbox_id)
            return self._push(stored, name, wanted, "git_push")

    def open_pull(
        self,
        user_id: str,
        sandbox_id: int,
        name: str,
        pushed: PushOptions,
        wanted: PullOptions,
    ) -> tuple[str, OpenedPull]:
        """Push, then open a pull request, or return the open one; also return the commit."""
        with self._locked(user_id, sandbox_id):
            stored = self._context.database.get_sandbox(user_id, sandbox_id)
            commit = self._push(stored, name, pushed, "git_pr")
            entry = find_repository(stored, name)
            return commit, self._publisher.open_pull(stored, entry, pushed, wanted)

    def _push(self, stored: StoredSandbox, name: str, wanted: PushOptions, kind: str) -> str:
        entry = find_repository(stored, name)
        changes = self._context.bridge.run(self._git.changes, stored, name, kind)
        commit = self._publisher.push(stored, entry, changes, wanted)
        self._context.bridge.run(self._git.record_push, stored, name, wanted.branch, commit)
        return commit

    def _locked(self, user_id: str, sandbox_id: int) -> AbstractContextManager[None]:
        # Check the owner before others have to wait.
        self._context.database.get_sandbox(user_id, sandbox_id)
        return self._locks.lock(sandbox_id, Deadline(LOCK_SECONDS, STEP_SECONDS))

    def _run(
        self,
        user_id: str,
        sandbox_id: int,
        work: Callable[..., Awaitable[Result]],
        *arguments: Any,
    ) -> Result:
        stored = self._context.database.get_sandbox(user_id, sandbox_id)
        return self._context.bridge.run(work, stored, *arguments)
