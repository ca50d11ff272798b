"""Holds what users, projects and tasks have spent against their budgets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from database import Database
from utils.config.settings import Settings
from utils.errors import BudgetExceeded
from utils.models.tasks import Json
from utils.models.usage import MICRO, Spending, SpendingQuery
from utils.telemetry import Metrics

BUDGET_EXCEEDED = "budget_exceeded"

_NOT_FREE = "Start a new task, or ask who runs this server for a larger budget."


@dataclass(frozen=True, slots=True)
class BudgetLimit:
    """A budget in micro-dollars with what was spent of it before, and the end of its period.

    `scope` is what it is for: task, day, month or project.
    """

    scope: str
    micro_usd: int
    spent_micro_usd: int
    ends_at: datetime | None

    @property
    def left_micro_usd(self) -> int:
        """The rest that may be spent; negative above the limit."""
        return self.micro_usd - self.spent_micro_usd


@dataclass(frozen=True, slots=True)
class RunBudget:
    """The budgets that a run draws on; none means that it may cost anything."""

    limits: tuple[BudgetLimit, ...] = ()

    def passed_by(self, cost_micro_usd: int) -> BudgetLimit | None:
        """Return the budget that a cost passes, None if it is within all of them.

        It is the one that is free again last, if there are several.
        """
        return _last(one for one in self.limits if cost_micro_usd > one.left_micro_usd)

    def spent(self) -> BudgetLimit | None:
        """Return the budget of which nothing is left, None if there is none."""
        return _last(one for one in self.limits if one.left_micro_usd <= 0)


class Budgets:
    """Reads budgets and what was spent of them. For all threads but that of the event loop."""

    def __init__(self, settings: Settings, database: Database, metrics: Metrics) -> None:
        self._settings = settings
        self._database = database
        self._metrics = metrics
        self._has_user_budgets = bool(
            settings.budget_usd_per_user_day or settings.budget_usd_per_user_month
        )

    def check_start(self, user_id: str, project_id: int | None) -> None:
        """Raise `BudgetExceeded` when a budget of a new task is spent."""
        if project_id or self._has_user_budgets:
            self._check(user_id, SpendingQuery(datetime.now(UTC), project_id))

    def check_turn(self, user_id: str, task_id: int) -> None:
        """Raise `BudgetExceeded` when a budget of the next turn of a task is spent.

        Raises `NotFound` when there is no such task.
        """
        task = self._database.get_task_status(user_id, task_id)
        if task.project_id or self._has_user_budgets or self._settings.budget_usd_per_task:
            self._check(user_id, SpendingQuery(datetime.now(UTC), task.project_id, task_id))

    def _check(self, user_id: str, query: SpendingQuery) -> None:
        spending = self._database.read_spending(user_id, query)
        limits = self._limits(spending, spending.project_settings, query.at)
        spent = RunBudget(
            tuple(one for one in limits if query.task_id or one.scope != "task")
        ).spent()
        if spent:
            self._metrics.budget_reached(spent.scope, "refused")
            raise _refusal(spent, query.at)

    def of_user(self, user_id: str) -> list[BudgetLimit]:
        """Return the budgets of a user for a day and for a month, with what was spent of them."""
        if not self._has_user_budgets:
            return []
        query = SpendingQuery(datetime.now(UTC))
        spending = self._database.read_spending(user_id, query)
        limits = self._limits(spending, {}, query.at)
        return [one for one in limits if one.scope in {"day", "month"}]

    def spent_by_user(self, user_id: str) -> BudgetLimit | None:
        """Return the budget of a user of which nothing is left, None if there is none."""
        return RunBudget(tuple(self.of_user(user_id))).spent()

    def run_budget(self, user_id: str, query: SpendingQuery, project_settings: Json) -> RunBudget:
        """Return the budgets that a run draws on, without what it has spent itself."""
        project_budget = query.project_id and budget_of(project_settings)
        if not (project_budget or self._has_user_budgets or self._settings.budget_usd_per_task):
            return RunBudget()
        spending = self._database.read_spending(user_id, query)
        return RunBudget(tuple(self._limits(spending, project_settings, query.at)))

    def _limits(
        self, spending: Spending, project_settings: Json, now: datetime
    ) -> Iterator[BudgetLimit]:
        settings = self._settings
        for scope, budget_usd, spent, ends_at in (
            ("task", settings.budget_usd_per_task, spending.task, None),
            ("day", settings.budget_usd_per_user_day, spending.day, next_day(now)),
            ("month", settings.budget_usd_per_user_month, spending.month, next_month(now)),
            ("project", budget_of(project_settings), spending.project_month, next_month(now)),
        ):
            if budget_usd is not None:
                yield BudgetLimit(scope, round(budget_usd * MICRO), spent, ends_at)


def budget_of(project_settings: Json) -> float | None:
    """Return the monthly budget in a project's settings; None for anything but an amount."""
    budget = project_settings.get("budget_usd")
    if isinstance(budget, bool) or not isinstance(budget, int | float):
        return None
    return float(budget) if 0 <= budget < MICRO**2 and math.isfinite(budget) else None


def next_day(moment: datetime) -> datetime:
    """Return the beginning of the next day in UTC."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(
        days=1
    )


def next_month(moment: datetime) -> datetime:
    """Return the beginning of the next month in UTC."""
    # Every month has a 28th day, and four days later the next one has begun.
    later = moment.astimezone(UTC).replace(day=28) + timedelta(days=4)
    return later.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def stopped_text(limit: BudgetLimit) -> str:
    """Return why a run ended at its budget, and what to do."""
    free = _free_again(limit)
    spent = f"the budget {_described(limit)} is used up"
    return f"The agent was stopped: {spent}. Its changes are kept. {free}"


def used_up_text(limit: BudgetLimit) -> str:
    """Return that a budget is used up, and when it is free again."""
    return f"The budget {_described(limit)} is used up. {_free_again(limit)}"


def not_started_text(limit: BudgetLimit) -> str:
    """Return why a task that has waited was not started, and what to do."""
    spent = f"the budget {_described(limit)} is used up"
    return f"The agent was not started: {spent}. {_free_again(limit)}"


def _refusal(limit: BudgetLimit, now: datetime) -> BudgetExceeded:
    seconds = None if limit.ends_at is None else math.ceil((limit.ends_at - now).total_seconds())
    return BudgetExceeded(used_up_text(limit), retry_after_seconds=seconds)


def _described(limit: BudgetLimit) -> str:
    whose = {
        "task": "of this task",
        "day": "of this day",
        "month": "of this month",
        "project": "of the project for this month",
    }
    return f"{whose[limit.scope]} ({dollars(limit.micro_usd)} US dollars)"


def _free_again(limit: BudgetLimit) -> str:
    if limit.ends_at is None:
        return _NOT_FREE
    return f"It is free again at {limit.ends_at:%Y-%m-%dT%H:%M:%SZ}."


def dollars(micro_usd: int) -> str:
    """Return an amount in US dollars with the digits that it needs, at least two."""
    text = f"{micro_usd / MICRO:.6f}".rstrip("0")
    whole, _, part = text.partition(".")
    return f"{whole}.{part:0<2}"


def _last(limits: Iterable[BudgetLimit]) -> BudgetLimit | None:
    return max(limits, key=_end, default=None)


def _end(limit: BudgetLimit) -> float:
    return math.inf if limit.ends_at is None else limit.ends_at.timestamp()
