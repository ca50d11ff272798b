"""Records what the sandboxes of users cost, and ends them when a budget is spent."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog

from utils.models.sandboxes import SandboxStatus, StoredSandbox
from utils.models.usage import NO_TASK_ID, Usage, UsageRecord
from utils.sandbox_service.context import ServiceContext
from utils.sandbox_service.open_sandboxes import OpenSandboxes
from utils.usage.budgets import used_up_text
from utils.usage.prices import cost_of_time

COUNT_SECONDS = 60.0
"""Time between two records of the sandboxes that go on."""

SANDBOXES = 500
"""Most sandboxes that are recorded in one step; further ones follow when some have ended."""

log = structlog.get_logger(__name__)


class UsageCounter:
    """Counts the running time of sandboxes that belong to no task; for use on the event loop.

    A record holds the whole amount, so several servers may write it, and one that ends early loses
    nothing.
    """

    def __init__(self, context: ServiceContext, opened: OpenSandboxes) -> None:
        self._context = context
        self._opened = opened
        self._counted: dict[int, int] = {}

    async def count(self) -> None:
        """Record the sandboxes whose running time has grown or that have ended."""
        database = self._context.database
        found = await self._context.ask(database.list_uncounted_sandboxes, SANDBOXES)
        self._counted = {one.id: self._counted.get(one.id, 0) for one in found}
        spenders: dict[str, list[StoredSandbox]] = {}
        for stored in found:
            running_ms = stored.running_ms_at(datetime.now(UTC))
            if stored.is_live and running_ms == self._counted[stored.id]:
                continue
            await self._context.ask(self._record, stored, running_ms)
            self._counted[stored.id] = running_ms
            if stored.status is SandboxStatus.RUNNING and self._context.is_here(stored):
                spenders.setdefault(stored.user_id, []).append(stored)
        for user_id, running in spenders.items():
            await self._end_above_budget(user_id, running)

    def _record(self, stored: StoredSandbox, running_ms: int) -> None:
        hour = self._context.usage.prices.sandbox_hour(stored.provider, stored.template)
        amounts = Usage(
            sandbox_milliseconds=running_ms, sandbox_micro_usd=cost_of_time(running_ms, hour)
        )
        record = UsageRecord(
            user_id=stored.user_id,
            task_id=NO_TASK_ID,
            run=f"sandbox {stored.id}",
            project_id=stored.project_id,
            agent="sandbox",
            at=stored.created_at,
            usage=amounts,
        )
        self._context.database.count_sandbox(stored.id, record, is_final=not stored.is_live)

    async def _end_above_budget(self, user_id: str, running: list[StoredSandbox]) -> None:
        spent = await self._context.ask(self._context.usage.budgets.spent_by_user, user_id)
        if spent is None:
            return
        for stored in running:
            self._context.usage.metrics.budget_reached(spent.scope, "stopped")
            await self._opened.terminate(stored, used_up_text(spent))
            log.info("sandbox ended at a budget", action="sandboxes.over_budget", sandbox=stored.id)
