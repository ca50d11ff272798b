"""Settings of schedules; a part of `utils.config.settings`."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class ScheduleSettings(BaseSettings):
    """Limits of the schedules that users store."""

    max_schedules_per_user: int = Field(
        20,
        ge=0,
        description="Maximum number of schedules of one user. 0 allows no new ones.",
    )
    schedule_min_minutes: int = Field(
        5,
        ge=1,
        le=1_440,
        description="Shortest pause in minutes between two tasks of a schedule. It holds for "
        "schedules that are stored or changed from then on.",
    )
