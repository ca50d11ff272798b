"""Records the sandboxes of tasks, whoever opens and ends them.

The records are for people: when the database does not answer, a task runs all the same, and the
next clean-up makes the rows agree with the provider.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from anyio import to_thread

from database import Database
from utils.errors import AppError, SandboxLost
from utils.git.folder_names import folder_names
from utils.models.sandboxes import SandboxStatus, TaskSandbox
from utils.sandboxes.protocol import Sandbox, SandboxProvider, SandboxRequest
from utils.sandboxes.view import SandboxView

CLOSE_WAIT_SECONDS = 10.0

log = structlog.get_logger(__name__)


class RecordedProvider:
    """A provider whose sandboxes of tasks have rows in the database."""

    def __init__(self, inner: SandboxProvider, database: Database) -> None:
        self.kind = inner.kind
        self.key_states = inner.key_states
        self.templates = inner.templates
        self.is_paused = inner.is_paused
        self.extend = inner.extend
        self.list_existing = inner.list_existing
        self.release = inner.release
        self.prune = inner.prune
        self.sweep = inner.sweep
        self._inner = inner
        self._database = database
        self._writes: dict[str, asyncio.Task[None]] = {}

    async def open(self, request: SandboxRequest) -> Sandbox:
        """See `SandboxProvider`."""
        return self._recorded(await self._inner.open(request), request)

    async def attach(self, sandbox_id: str, request: SandboxRequest) -> Sandbox:
        """See `SandboxProvider`."""
        with self._ended_when_lost(sandbox_id):
            return self._recorded(await self._inner.attach(sandbox_id, request), request)

    async def resume(self, sandbox_id: str, request: SandboxRequest) -> Sandbox:
        """See `SandboxProvider`."""
        with self._ended_when_lost(sandbox_id):
            return self._recorded(await self._inner.resume(sandbox_id, request), request)

    async def end(self, sandbox_id: str) -> None:
        """See `SandboxProvider`."""
        await self._inner.end(sandbox_id)
        self.mark(sandbox_id, SandboxStatus.TERMINATED)

    async def close(self) -> None:
        """See `SandboxProvider`."""
        await self._inner.close()
        if self._writes:
            await asyncio.wait(self._writes.values(), timeout=CLOSE_WAIT_SECONDS)

    def _recorded(self, sandbox: Sandbox, request: SandboxRequest) -> Sandbox:
        lifetime = timedelta(seconds=request.lifetime_seconds - request.age_seconds)
        repositories = [
            {"name": name, "repo_url": url}
            for name, url in zip(folder_names(request.repo_urls), request.repo_urls, strict=True)
        ]
        new = TaskSandbox(
            task_id=request.task_id,
            provider=self.kind.name,
            provider_id=sandbox.id,
            template=request.template_id,
            repositories=repositories,
            expires_at=datetime.now(UTC) + lifetime,
        )
        self._write(sandbox.id, partial(self._database.record_task_sandbox, new))
        return RecordedSandbox(sandbox, partial(self.mark, sandbox.id))

    @contextmanager
    def _ended_when_lost(self, sandbox_id: str) -> Iterator[None]:
        try:
            yield
        except SandboxLost:
            self.mark(sandbox_id, SandboxStatus.TERMINATED)
            raise

    def mark(self, sandbox_id: str, status: SandboxStatus) -> None:
        """Have the row of a sandbox get this status, after what was asked before."""
        ids = [sandbox_id]
        self._write(sandbox_id, partial(self._database.mark_sandboxes, self.kind.name, ids, status))

    def _write(self, sandbox_id: str, write: Callable[[], object]) -> None:
        before = self._writes.get(sandbox_id)

        async def run() -> None:
            if before is not None:
                await asyncio.wait([before])
            try:
                await to_thread.run_sync(write)
            except AppError as error:
                log.warning(
                    "sandbox not recorded", action="sandboxes.not_recorded", reason=error.message
                )

        task = asyncio.ensure_future(run())
        self._writes[sandbox_id] = task
        task.add_done_callback(partial(self._forget, sandbox_id))

    def _forget(self, sandbox_id: str, task: asyncio.Task[None]) -> None:
        if self._writes.get(sandbox_id) is task:
            del self._writes[sandbox_id]


class RecordedSandbox(SandboxView):
    """The sandbox of a task. `mark` sets the status of its row."""

    def __init__(self, sandbox: Sandbox, mark: Callable[[SandboxStatus], None]) -> None:
        super().__init__(sandbox)
        self._mark = mark

    async def pause(self) -> bool:
        """See `Sandbox`."""
        is_paused = await super().pause()
        if is_paused:
            self._mark(SandboxStatus.PAUSED)
        return is_paused

    async def close(self) -> None:
        """See `Sandbox`."""
        try:
            await super().close()
        finally:
            self._mark(SandboxStatus.TERMINATED)
