"""Ends the sandboxes whose time is over, and those of an earlier process of this server."""

from __future__ import annotations

from datetime import UTC, datetime

import anyio
import structlog

from utils.errors import DatabaseUnavailable, SandboxError
from utils.maintenance.periodic import run_periodically
from utils.models.sandboxes import SandboxStatus, StoredSandbox
from utils.sandbox_service.context import ServiceContext
from utils.sandbox_service.lifecycle import INTERRUPTED
from utils.sandbox_service.open_sandboxes import OpenSandboxes, seconds_left
from utils.sandbox_service.usage_counter import COUNT_SECONDS, UsageCounter
from utils.sandboxes.registry import SANDBOXES

CHECK_SECONDS = 15.0
"""Time between two looks for sandboxes whose time is over."""

RENEW_SECONDS = 600.0
"""Time between two extensions of sandboxes that are to live longer than their provider's lease."""

SURVIVORS = frozenset(kind.name for kind in SANDBOXES if kind.survives)
"""The providers whose sandboxes survive the end of this process."""

log = structlog.get_logger(__name__)


class Leases:
    """Looks after the sandboxes of users; for use on the event loop."""

    def __init__(self, context: ServiceContext, opened: OpenSandboxes) -> None:
        self._context = context
        self._opened = opened
        self._usage = UsageCounter(context, opened)

    async def end_earlier(self) -> None:
        """Store that sandboxes of an earlier process of this server have ended with it."""
        database = self._context.database
        for stored in await self._context.ask(database.list_live_sandboxes):
            if stored.server == database.server and _has_ended(stored):
                is_opening = stored.status is SandboxStatus.CREATED
                status = SandboxStatus.ERROR if is_opening else SandboxStatus.TERMINATED
                fields = {"error": INTERRUPTED} if is_opening else {}
                await self._context.ask(
                    database.move_sandbox, stored.id, {stored.status}, status, fields
                )

    async def run(self) -> None:
        """End and extend sandboxes until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run_periodically, "end of leases", self._end_due, CHECK_SECONDS)
            tasks.start_soon(
                run_periodically, "usage of sandboxes", self._usage.count, COUNT_SECONDS
            )
            if self._context.provider.kind.survives:
                tasks.start_soon(run_periodically, "renewal of leases", self._renew, RENEW_SECONDS)

    async def _end_due(self) -> None:
        due = await self._context.ask(self._context.database.list_live_sandboxes, datetime.now(UTC))
        for stored in due:
            if self._context.is_here(stored):
                await self._opened.terminate(stored)
                log.info("sandbox ended", action="sandboxes.due", sandbox_id=stored.provider_id)

    async def _renew(self) -> None:
        for stored in await self._context.ask(self._context.database.list_live_sandboxes):
            is_ours = stored.task_id is None and self._context.is_here(stored)
            if is_ours and stored.status is SandboxStatus.RUNNING and stored.provider_id:
                try:
                    await self._context.provider.extend(stored.provider_id, seconds_left(stored))
                except SandboxError as error:
                    # A request to it, or the clean-up, finds out whether it is gone.
                    log.info(
                        "sandbox not extended",
                        action="sandboxes.not_extended",
                        reason=error.message,
                    )

    async def end_all(self) -> None:
        """End the sandboxes that do not survive the end of this process.

        Without the database they end with this process, and the next one stores it.
        """
        if self._context.provider.kind.survives:
            return
        try:
            await self._end_those_here()
        except DatabaseUnavailable as error:
            log.warning(
                "ends of sandboxes not stored", action="sandboxes.not_ended", reason=error.message
            )

    async def _end_those_here(self) -> None:
        database = self._context.database
        ids = set(self._opened.ids())
        for stored in await self._context.ask(database.list_live_sandboxes):
            is_ours = stored.task_id is None and self._context.is_here(stored)
            if stored.id in ids or is_ours:
                await self._opened.terminate(stored)


def _has_ended(stored: StoredSandbox) -> bool:
    """Tell whether a sandbox of this server has ended with an earlier process.

    The folder of a task's paused sandbox is kept for the next turn of the task.
    """
    if stored.status is SandboxStatus.CREATED:
        return True
    is_kept = stored.task_id is not None and stored.status is SandboxStatus.PAUSED
    return stored.provider not in SURVIVORS and not is_kept
