"""Frozen values of schedules, which start tasks at set times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from utils.models.tasks import Json


@dataclass(frozen=True, slots=True)
class NewSchedule:
    """A schedule to store. `task` is the body of a start-task without a token."""

    name: str | None
    cron: str
    time_zone: str
    task: Json
    is_enabled: bool
    next_run_at: datetime | None


@dataclass(frozen=True, slots=True)
class Schedule:
    """A row of `schedules`.

    `next_run_at` is None while it is paused. It is the moment of `started_for` when its task was
    created and the next moment was not stored yet. Until `claimed_until` one server has it.
    `last_error` tells why the last moment started no task; `refusals` counts such moments since the
    last task. The user `is_blocked` whose account of Supabase is banned or deleted; only
    `claim_schedule` tells.
    """

    id: int
    user_id: str
    name: str | None
    cron: str
    time_zone: str
    task: Json
    is_enabled: bool
    next_run_at: datetime | None
    started_for: datetime | None
    claimed_until: datetime | None
    last_run_at: datetime | None
    last_task_id: int | None
    last_error: str | None
    last_error_code: str | None
    refusals: int
    created_at: datetime
    updated_at: datetime
    is_blocked: bool = False
