"""Frozen values of usage: what the runs of tasks have used, and what was spent of the budgets.

Money is in millionths of a US dollar, time in milliseconds: sums of integers are exact.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum

from utils.models.tasks import Json

MICRO = 1_000_000
"""Millionths in a whole."""

LARGEST_AMOUNT = 10**12
"""Amounts of one record are cut to it: what an agent reports is not trusted, and sums must fit."""


NO_TASK_ID = 0
"""The task in records of sandboxes that belong to no task."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Amounts that were used. `unpriced_tokens` are tokens of models without a known price."""

    sandbox_milliseconds: int = 0
    sandbox_micro_usd: int = 0
    model_micro_usd: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    unpriced_tokens: int = 0
    git_operations: int = 0
    failed_git_operations: int = 0

    @property
    def cost_micro_usd(self) -> int:
        """The whole cost."""
        return self.sandbox_micro_usd + self.model_micro_usd


NO_USAGE = Usage()


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """A row of `usage_records`: what a run of a task, a push of its result or a sandbox has used.

    A task has one record of each `run`. It belongs to the day of `at`, the beginning of the run.
    It outlives its task and its project. Sandboxes that belong to no task have the task 0.
    """

    user_id: str
    task_id: int
    run: str
    project_id: int | None
    agent: str
    at: datetime
    usage: Usage = NO_USAGE

    @property
    def day(self) -> str:
        """The day in UTC that the record belongs to, as YYYY-MM-DD."""
        return day_of(self.at)


class UsageGroup(StrEnum):
    """The ways to sum up usage."""

    DAY = "day"
    PROJECT = "project"
    AGENT = "agent"
    TASK = "task"
    USER = "user"


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Selects the records of some days, the last one included, and how to sum them up."""

    first_day: date
    last_day: date
    group_by: UsageGroup
    limit: int = 1_000


@dataclass(frozen=True, slots=True)
class UsageSum:
    """The sum of the records with the same `key`: a day, the id of a project, an agent, ...

    `tasks` counts the tasks that the records belong to.
    """

    key: str | None
    tasks: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class Spending:
    """The costs in micro-dollars: of a task, and by its user and project in a period."""

    task: int = 0
    day: int = 0
    month: int = 0
    project_month: int = 0
    project_settings: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpendingQuery:
    """Names the costs to sum up at a moment, without those of the run of the task."""

    at: datetime
    project_id: int | None = None
    task_id: int | None = None
    but_run: str | None = None

    @property
    def day(self) -> str:
        """The present day."""
        return day_of(self.at)

    @property
    def first_of_month(self) -> str:
        """The first day of the present month."""
        return f"{self.day[:7]}-01"


def day_of(moment: datetime) -> str:
    """Return the day of a moment in UTC, as YYYY-MM-DD."""
    return moment.astimezone(UTC).date().isoformat()
