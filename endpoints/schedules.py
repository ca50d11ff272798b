"""Schedule endpoints: store, list, change and delete the schedules of the caller."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import structlog
from flask import Blueprint

from utils.api.endpoint import Services, endpoint
from utils.api.schemas.schedules import (
    NewSchedule,
    ScheduleChange,
    ScheduleRow,
    schedule_row,
    stored_task,
)
from utils.api.task_starts import check_start
from utils.config.settings import Settings
from utils.errors import Conflict, InvalidInput
from utils.models import schedules as values
from utils.models.tasks import Json
from utils.models.users import Scope
from utils.schedules.moments import next_moment, shortest_pause_minutes

blueprint = Blueprint("schedules", __name__, url_prefix="/schedules")

TASK_ERRORS = (
    "group_too_large",
    "invalid_branch",
    "not_found",
    "repository_not_allowed",
    "repository_not_on_github",
    "github_token_needed",
    "stored_secret_unreadable",
    "unknown_model",
)
TRIES = 5
"""Tries to change a schedule that others change at the same time."""

log = structlog.get_logger(__name__)


@blueprint.post("")
@endpoint(
    {"schedule": ScheduleRow},
    body=NewSchedule,
    status=201,
    scope=Scope.ADMIN,
    errors=(*TASK_ERRORS, "too_many_schedules"),
)
def create_schedule(services: Services, user_id: str, body: NewSchedule) -> Json:
    """Store a schedule, which starts a task at each of its moments.

    Its tasks run as you, with your stored GitHub token. An API key needs the scope `admin`: a
    schedule outlives the key that made it.
    """
    _check_pause(services.settings, body.cron)
    check_start(services, user_id, body.task)
    new = values.NewSchedule(
        name=body.name,
        cron=body.cron,
        time_zone=body.time_zone,
        task=stored_task(body.task),
        is_enabled=body.is_enabled,
        next_run_at=_next_run(body.cron, body.time_zone) if body.is_enabled else None,
    )
    most = services.settings.max_schedules_per_user
    stored = services.database.add_schedule(user_id, new, most)
    log.info("schedule stored", action="schedule.stored", schedule_id=stored.id)
    return {"schedule": schedule_row(stored)}


@blueprint.get("")
@endpoint({"schedules": list[ScheduleRow]})
def list_schedules(services: Services, user_id: str) -> Json:
    """List your schedules, newest first."""
    return {"schedules": [schedule_row(one) for one in services.database.list_schedules(user_id)]}


@blueprint.get("/<id:schedule_id>")
@endpoint({"schedule": ScheduleRow})
def get_schedule(services: Services, user_id: str, schedule_id: int) -> Json:
    """Return a schedule with its next moment, its last task and its last error."""
    return {"schedule": schedule_row(services.database.get_schedule(user_id, schedule_id))}


@blueprint.patch("/<id:schedule_id>")
@endpoint(
    {"schedule": ScheduleRow},
    body=ScheduleChange,
    needs_body=True,
    scope=Scope.ADMIN,
    errors=(*TASK_ERRORS, "conflict"),
)
def update_schedule(
    services: Services, user_id: str, schedule_id: int, body: ScheduleChange
) -> Json:
    """Change fields of a schedule, pause it or let it go on.

    A change forgets the last error. The next moment is the first one from now on, so what was
    missed during a pause is not made up for.
    """
    database, columns = services.database, body.columns
    database.get_schedule(user_id, schedule_id)
    if "cron" in columns:
        _check_pause(services.settings, columns["cron"])
    if body.task is not None:
        check_start(services, user_id, body.task)
    for _ in range(TRIES):
        seen = database.get_schedule(user_id, schedule_id)
        changed = database.replace_schedule(seen, columns | _moment_columns(seen, columns))
        if changed is not None:
            log.info("schedule changed", action="schedule.changed", schedule_id=schedule_id)
            return {"schedule": schedule_row(changed)}
    raise Conflict("The schedule is being changed by other requests. Try again.")


@blueprint.delete("/<id:schedule_id>")
@endpoint({"message": str}, scope=Scope.ADMIN)
def delete_schedule(services: Services, user_id: str, schedule_id: int) -> Json:
    """Delete a schedule. The tasks that it has started stay."""
    services.database.delete_schedule(user_id, schedule_id)
    log.info("schedule deleted", action="schedule.deleted", schedule_id=schedule_id)
    return {"message": "The schedule was deleted."}


def _check_pause(settings: Settings, cron: str) -> None:
    least, pause = settings.schedule_min_minutes, shortest_pause_minutes(cron)
    if pause < least:
        raise InvalidInput(
            f"cron: two of its moments are {pause} minutes apart; at least {least} are required "
            "(SCHEDULE_MIN_MINUTES)."
        )


def _moment_columns(seen: values.Schedule, columns: Json) -> Json:
    """Return the columns of the next moment, which other changes leave as it is."""
    if not columns.keys() & {"cron", "time_zone", "is_enabled"}:
        return {}
    timing = {
        name: columns[name] for name in ("cron", "time_zone", "is_enabled") if name in columns
    }
    now = replace(seen, **timing)
    return {"next_run_at": _next_run(now.cron, now.time_zone) if now.is_enabled else None}


def _next_run(cron: str, time_zone: str) -> datetime | None:
    return next_moment(cron, time_zone, datetime.now(UTC))
