"""Declares the operations on what tasks have used; a part of `database.Database`."""

from __future__ import annotations

from typing import Protocol

from utils.models.usage import Spending, SpendingQuery, UsageQuery, UsageRecord, UsageSum


class UsageVerbs(Protocol):
    """The operations on usage. A record is stored in place of an earlier one of the same run.

    The last record of a run is stored by `finish_task`, together with the end of the run.
    """

    def record_usage(self, record: UsageRecord) -> bool:
        """Store what a run has used so far.

        Returns False and writes nothing when the task does not run on this server.
        """

    def add_usage(self, user_id: str, record: UsageRecord) -> None:
        """Store a record of a task of any status. Raises `NotFound` when there is no such task."""

    def sum_usage(self, user_id: str, query: UsageQuery) -> list[UsageSum]:
        """Return the sums of a user's records, the highest keys first, at most `limit`."""

    def sum_all_usage(self, query: UsageQuery) -> list[UsageSum]:
        """Return the sums of the records of all users, the highest keys first."""

    def read_spending(self, user_id: str, query: SpendingQuery) -> Spending:
        """Return what a user has spent, with the settings of the project if there is one."""
