"""Declares the operations on schedules; a part of `database.Database`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from utils.models.schedules import NewSchedule, Schedule


class ScheduleVerbs(Protocol):
    """The operations on schedules.

    A task with `schedule_id` and `scheduled_for` is only created while that is the next moment of
    its schedule, and no task was created for it. The same transaction stores it as the last task.
    Otherwise `create_task` raises `Conflict`.
    """

    def add_schedule(self, user_id: str, new: NewSchedule, most: int) -> Schedule:
        """Store a schedule. Raises `Unauthenticated`, and `Conflict` (`too_many_schedules`)."""

    def list_schedules(self, user_id: str) -> list[Schedule]:
        """Return the schedules of a user, newest first."""

    def get_schedule(self, user_id: str, schedule_id: int) -> Schedule:
        """Return one schedule. Raises `NotFound`."""

    def replace_schedule(self, seen: Schedule, fields: Mapping[str, Any]) -> Schedule | None:
        """Set columns of a schedule whose user has not changed it since `seen` was read.

        Forgets its last error. Returns None, and writes nothing, when it was changed or deleted.
        """

    def delete_schedule(self, user_id: str, schedule_id: int) -> None:
        """Delete a schedule; its tasks stay. Raises `NotFound`."""

    def claim_schedule(self, until: datetime) -> Schedule | None:
        """Give this server the schedule that is due for the longest time; None without one.

        No other server has it until then. One that an earlier process of this server had is due at
        once.
        """

    def end_schedule_run(self, schedule: Schedule, fields: Mapping[str, Any]) -> bool:
        """Set columns of a schedule that this server has, and give it back.

        Returns False, and writes nothing, when it was changed, or another server has it.
        """
