"""Schemas of usage: what tasks have used and cost, in integers, so that sums are exact."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, astuple, replace
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from typing_extensions import TypedDict

from utils.api.requests import Query
from utils.api.responses import Time
from utils.errors import InvalidInput
from utils.models.tasks import Json
from utils.models.usage import Usage, UsageGroup, UsageQuery, UsageSum
from utils.usage.budgets import BudgetLimit

MAX_DAYS = 366
DEFAULT_DAYS = 30
MAX_SUMS = 1_000
MAX_USERS = 100_000

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _day(text: object) -> date:
    if not isinstance(text, str) or not _DAY.fullmatch(text):
        raise ValueError("must be a day such as 2027-01-31")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("must be a day such as 2027-01-31") from None


Day = Annotated[date | None, BeforeValidator(_day)]


class UsageListQuery(Query):
    """Selects the days of a report, and what its rows are."""

    first_day: Day = Field(
        None,
        alias="from",
        description=f"First day (UTC) of the report; {DEFAULT_DAYS} days end at `to` by default.",
    )
    last_day: Day = Field(
        None, alias="to", description="Last day (UTC) of the report; by default the present one."
    )
    group_by: Literal["day", "project", "agent", "task"] = Field(
        "day", description="What has a row of its own."
    )

    def chosen(self) -> UsageQuery:
        """Return the query for the database. Raises `InvalidInput`."""
        last = self.last_day or datetime.now(UTC).date()
        first = self.first_day
        if first is None:
            first = max(last, date.min + timedelta(DEFAULT_DAYS)) - timedelta(DEFAULT_DAYS - 1)
        if not 0 <= (last - first).days < MAX_DAYS:
            raise InvalidInput(
                f"from: must be a day before `to`, or the same, and at most {MAX_DAYS} days in all."
            )
        # One sum more shows that the report is cut.
        return UsageQuery(first, last, UsageGroup(self.group_by), MAX_SUMS + 1)


class AllUsageQuery(UsageListQuery):
    """Selects the days of a report on all users, and what its rows are."""

    group_by: Literal["day", "project", "agent", "task", "user"] = Field(  # type: ignore[assignment]
        "user", description="What has a row of its own."
    )


class UsageAmounts(TypedDict):
    """Sums of what tasks have used."""

    tasks: int
    cost_micro_usd: int
    sandbox_milliseconds: int
    sandbox_micro_usd: int
    model_micro_usd: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    unpriced_tokens: int
    git_operations: int
    failed_git_operations: int


class UsageSumRow(UsageAmounts):
    """The sums of one day, project, agent, task or user."""

    key: str | None


class BudgetRow(TypedDict):
    """A budget of yours, and what was spent of it."""

    period: Literal["day", "month"]
    budget_micro_usd: int
    spent_micro_usd: int
    free_at: Time


def usage_report(query: UsageQuery, sums: Sequence[UsageSum], users: Sequence[UsageSum]) -> Json:
    """Return the fields of a report; days come in order, of other rows the newest first.

    `users` are the sums of `whole`.
    """
    shown = list(sums[:MAX_SUMS])
    if query.group_by is UsageGroup.DAY:
        shown.reverse()
    return {
        "from": query.first_day.isoformat(),
        "to": query.last_day.isoformat(),
        "group_by": query.group_by.value,
        "usage": [_row(one) for one in shown],
        "total": _amounts(_added(users)),
        "is_cut": len(sums) > MAX_SUMS,
    }


def whole(query: UsageQuery) -> UsageQuery:
    """Return the query for the total: a task has one user, so sums of users count it once."""
    return replace(query, group_by=UsageGroup.USER, limit=MAX_USERS)


def budget_row(limit: BudgetLimit) -> BudgetRow:
    """Return the row of a budget of a day or a month."""
    return {
        "period": "day" if limit.scope == "day" else "month",
        "budget_micro_usd": limit.micro_usd,
        "spent_micro_usd": limit.spent_micro_usd,
        "free_at": limit.ends_at or datetime.max.replace(tzinfo=UTC),
    }


def _added(sums: Sequence[UsageSum]) -> UsageSum:
    amounts = zip(*(astuple(one.usage) for one in sums), strict=True)
    return UsageSum(None, sum(one.tasks for one in sums), Usage(*(sum(each) for each in amounts)))


def _row(one: UsageSum) -> UsageSumRow:
    return {"key": one.key, **_amounts(one)}


def _amounts(one: UsageSum) -> UsageAmounts:
    cost = one.usage.cost_micro_usd
    return {"tasks": one.tasks, "cost_micro_usd": cost, **asdict(one.usage)}  # type: ignore[typeddict-item]
