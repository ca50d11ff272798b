"""Makes the rows of sandboxes agree with their provider, and removes what is kept no longer.

Each step may run on several servers at once, and in `./run.sh cleanup` beside a server.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import structlog
from anyio import to_thread

from database import Database
from utils.config.settings import Settings
from utils.maintenance.periodic import run_periodically
from utils.maintenance.retention import Retention
from utils.models.sandboxes import LIVE_SANDBOXES, SandboxStatus, StoredSandbox
from utils.sandboxes.protocol import SandboxProvider

CHECK_SECONDS = 30.0
"""Pause between two checks which sandboxes still exist."""

CLEANUP_SECONDS = 600.0
"""Pause between two searches for what is too old."""

OPENING_SECONDS = 600.0
"""Age from which a sandbox that never opened counts as lost with its server."""

ROWS = 200
"""Rows of ended sandboxes that are deleted in one transaction."""

GONE = "The provider no longer has this sandbox."
NEVER_OPENED = "The server ended before the sandbox was open. Create another one."
TOO_OLD = "The sandbox reached the greatest age that this server allows. Create another one."

log = structlog.get_logger(__name__)


class Cleanup:
    """Looks after sandboxes and old rows; for use on the event loop."""

    def __init__(self, provider: SandboxProvider, database: Database, settings: Settings) -> None:
        self._provider = provider
        self._database = database
        self._settings = settings
        self._retention = Retention(database, settings)

    async def run(self) -> None:
        """Clean up until cancelled."""
        async with anyio.create_task_group() as tasks:
            for job, step, pause_seconds in (
                ("check of sandboxes", self.check_existing, CHECK_SECONDS),
                ("end of old sandboxes", self.end_old, CLEANUP_SECONDS),
                ("deletion of old rows", self.forget_old, CLEANUP_SECONDS),
            ):
                tasks.start_soon(run_periodically, job, step, pause_seconds)
            if self._settings.retention_days:
                tasks.start_soon(self._retention.run)

    async def check_existing(self) -> int:
        """Store which sandboxes have ended without this server; return how many.

        Asks the provider once, whatever the number of sandboxes. Raises `SandboxError`.
        """
        # The rows first: a sandbox that opens meanwhile is in the answer of the provider.
        rows = await self._live()
        moment = datetime.now(UTC) - timedelta(seconds=OPENING_SECONDS)
        lost = 0
        for row in rows:
            if row.status is SandboxStatus.CREATED and row.created_at < moment:
                fields = {"error": NEVER_OPENED}
                lost += await self._move(row, SandboxStatus.ERROR, fields)
        named = {row.provider_id for row in rows if row.provider_id}
        if not named:
            return lost
        missing = named - await self._provider.list_existing()
        if missing:
            marked = await to_thread.run_sync(
                self._database.mark_sandboxes,
                self._provider.kind.name,
                missing,
                SandboxStatus.TERMINATED,
                GONE,
            )
            lost += len(marked)
        if lost:
            log.info("sandboxes have ended", action="cleanup.gone", count=lost)
        return lost

    async def end_old(self) -> int:
        """End the sandboxes of users that are older than allowed; return how many."""
        limit = timedelta(seconds=self._settings.sandbox_max_age_seconds)
        oldest = datetime.now(UTC) - limit
        ended = 0
        for row in await self._live():
            # The sandbox of a task ends with the limits of the task.
            if row.task_id is not None or row.provider_id is None or row.created_at >= oldest:
                continue
            # The row first, so that it tells the reason; a sweep ends what survives the end.
            ended += await self._move(row, SandboxStatus.TERMINATED, {"error": TOO_OLD})
            await self._provider.end(row.provider_id)
        if ended:
            log.info("old sandboxes ended", action="cleanup.old", count=ended)
        return ended

    async def forget_old(self) -> int:
        """Delete the rows of sandboxes that ended `RETENTION_DAYS` ago; return how many."""
        if not self._settings.retention_days:
            return 0
        before = datetime.now(UTC) - timedelta(days=self._settings.retention_days)
        total = 0
        while count := await to_thread.run_sync(self._forget_batch, before):
            total += count
        return total

    async def remove_old_tasks(self) -> int:
        """Delete or archive all tasks that are old enough now; return how many."""
        if not self._settings.retention_days:
            return 0
        total = 0
        while count := await to_thread.run_sync(self._retention.remove_batch):
            total += count
        self._retention.report(total)
        return total

    async def sweep(self) -> int:
        """End the sandboxes at the provider that nobody knows; return how many.

        Raises `SandboxError`.
        """
        known = await to_thread.run_sync(known_sandboxes, self._database)
        return await self._provider.sweep(known)

    def _forget_batch(self, before: datetime) -> int:
        return self._database.delete_old_sandboxes(before, limit=ROWS)

    async def _live(self) -> list[StoredSandbox]:
        """Return the live sandboxes that this process can tell something about."""
        kind = self._provider.kind
        rows = await to_thread.run_sync(self._database.list_live_sandboxes)
        return [
            row
            for row in rows
            if row.provider == kind.name and (kind.survives or row.server == self._database.server)
        ]

    async def _move(self, row: StoredSandbox, to: SandboxStatus, fields: dict[str, str]) -> bool:
        moved = await to_thread.run_sync(
            self._database.move_sandbox, row.id, LIVE_SANDBOXES, to, fields
        )
        return moved is not None


def known_sandboxes(database: Database) -> list[str]:
    """Return the provider's names of all sandboxes that are in use or kept.

    Whether the sandbox of a task is known is a matter of the task's run.
    """
    known = database.list_run_sandboxes()
    known += [one.sandbox_id for one in database.list_workspaces()]
    live = database.list_live_sandboxes()
    return known + [one.provider_id for one in live if one.task_id is None and one.provider_id]
