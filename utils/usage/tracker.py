"""Tracks what the runs of a task use, from its claim to its result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from database import Database
from utils.errors import TaskError, TaskStopped
from utils.models.runs import AgentRun, ClaimedTask
from utils.models.tasks import Json
from utils.models.usage import SpendingQuery, UsageRecord
from utils.telemetry import Metrics
from utils.usage.budgets import BUDGET_EXCEEDED, Budgets, RunBudget, not_started_text
from utils.usage.meter import MeteredRun, OnSpent, RunMeter
from utils.usage.prices import Prices


@dataclass(frozen=True, slots=True)
class UsageContext:
    """The services that all trackers share."""

    database: Database
    budgets: Budgets
    prices: Prices
    metrics: Metrics
    sandbox_kind: str


class UsageTracker:
    """Tracks the runs of one task on this server, of which there are several when sandboxes fail.

    `on_spent` is called when a run has passed a budget. The methods block, except `observe` and
    `note_agent`, which are called on the event loop.
    """

    def __init__(self, context: UsageContext, on_spent: OnSpent) -> None:
        self._context = context
        self._on_spent = on_spent
        self._project_settings: Json = {}
        self._metered: MeteredRun | None = None
        self._meter: RunMeter | None = None

    def begin(
        self, claimed: ClaimedTask, model: str | None, run: AgentRun | None
    ) -> TaskStopped | None:
        """Begin the run of a claimed task; return the error when a budget is spent already.

        An agent that an earlier process has started is stopped later, so that its changes are
        kept. Raises `DatabaseUnavailable`.
        """
        template = claimed.project_settings.get("template_id")
        self._project_settings = claimed.project_settings
        self._metered = MeteredRun(
            claimed.task,
            claimed.running_turn.number,
            model,
            self._context.sandbox_kind,
            template if isinstance(template, str) else None,
            run,
        )
        run_budget = self._open()
        if run is None and (spent := run_budget.spent()):
            self._context.metrics.budget_reached(spent.scope, "refused")
            return TaskStopped(not_started_text(spent), BUDGET_EXCEEDED)
        return None

    def observe(self, kind: str, data: Json) -> None:
        """Count an event of the run."""
        if self._meter:
            self._meter.observe(kind, data)

    def note_agent(self, details: Json, unreported: Json, *, has_ended: bool) -> None:
        """Count what the agent has used up to now; see `RunMeter.note_agent`."""
        if self._meter:
            self._meter.note_agent(details, unreported, has_ended=has_ended)

    @property
    def position(self) -> Json:
        """The part of the run's position that tells a next process what the agent has used."""
        return self._meter.position if self._meter else {}

    def save(self) -> None:
        """Store what a run has used that goes on. Raises `DatabaseUnavailable`."""
        meter, metered = self._meter, self._metered
        if meter is None or metered is None or not (record := meter.unsaved()):
            return
        self._context.database.record_usage(record)
        meter.note_saved(record)
        # The other tasks of the user draw on the same budgets.
        meter.run_budget = self._read_budget(metered, meter.run_name)

    def end_without_result(self) -> None:
        """Store what a run has used that is repeated. Raises `DatabaseUnavailable`."""
        if self._meter and (record := self._meter.record()):
            if self._context.database.record_usage(record):
                self.count(record)
            if self._metered:
                self._metered = replace(self._metered, run=None)
                self._open()

    def record(self, failure: TaskError | None) -> UsageRecord | None:
        """Return what the run has used, to be stored with its result."""
        return self._meter.record(failure) if self._meter else None

    def count(self, record: UsageRecord) -> None:
        """Add a stored record to the metrics."""
        self._context.metrics.usage_recorded(record.agent, record.usage)

    def _open(self) -> RunBudget:
        metered = self._metered
        if metered is None:
            return RunBudget()
        known = metered.run.sandbox_id if metered.run else ""
        run_budget = self._read_budget(metered, metered.name_in(known))
        self._meter = RunMeter(metered, self._context.prices, run_budget, self._stop)
        return run_budget

    def _read_budget(self, metered: MeteredRun, run_name: str) -> RunBudget:
        task = metered.task
        query = SpendingQuery(datetime.now(UTC), task.project_id, task.id, run_name)
        return self._context.budgets.run_budget(task.user_id, query, self._project_settings)

    def _stop(self, reason: TaskStopped, scope: str) -> None:
        self._context.metrics.budget_reached(scope, "stopped")
        self._on_spent(reason)
