"""Sample records of usage."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from tests.support.database.samples import USER
from utils.models.usage import Usage, UsageGroup, UsageQuery, UsageRecord

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 30, tzinfo=UTC)

SMALL = Usage(1_000, 10, 300, 100, 40, 20, 0, 1, 0)
LARGE = Usage(2_000, 20, 7_000, 900, 100, 30, 5, 2, 1)


def record(task_id: int, usage: Usage = SMALL, **changes: Any) -> UsageRecord:
    """Return a record of the sample user."""
    fields = {"run": "run 1", "project_id": None, "agent": "claude", "at": NOON, **changes}
    return replace(UsageRecord(USER, task_id, **fields), usage=usage)


def by(group: str, first: str = "2026-11-01", last: str = "2026-11-30", **more: Any) -> UsageQuery:
    """Return a query for the sums of some days."""
    days = date.fromisoformat(first), date.fromisoformat(last)
    return UsageQuery(*days, UsageGroup(group), **more)
