"""Schemas of schedules."""

from __future__ import annotations

from typing import Annotated, Any, cast

from pydantic import AfterValidator, BeforeValidator, Field
from typing_extensions import TypedDict

from utils.api.requests import EXAMPLE_REPOSITORY, Body, NotBlank, example
from utils.api.responses import Time
from utils.api.schemas.tasks import WantedTask
from utils.models.schedules import Schedule
from utils.models.tasks import Json
from utils.schedules.moments import MAX_CRON_CHARACTERS, check_time_zone, normal_cron

EXAMPLE_TASK = {
    "prompt": "Update the dependencies, and run the tests.",
    "repo_url": EXAMPLE_REPOSITORY,
}


class ScheduleRow(TypedDict):
    """A schedule, with its next and its last task."""

    id: int
    name: str | None
    cron: str
    time_zone: str
    task: dict[str, Any]
    is_enabled: bool
    next_run_at: Time | None
    last_run_at: Time | None
    last_task_id: int | None
    last_error: str | None
    last_error_code: str | None
    refusals: int
    created_at: Time
    updated_at: Time


def _without_token(value: object) -> object:
    if isinstance(value, dict) and "github_token" in value:
        raise ValueError(
            "must not have a github_token: a schedule keeps none. Its tasks use the token that "
            "you store with PUT /users/me"
        )
    return value


Cron = Annotated[
    str,
    AfterValidator(normal_cron),
    Field(
        max_length=MAX_CRON_CHARACTERS,
        description="When tasks start, in the five fields of cron: minute, hour, day of month, "
        "month, day of week.",
    ),
]
TimeZone = Annotated[
    str,
    Field(
        max_length=100,
        description="Time zone of `cron`, by its name in the IANA database, such as Europe/Berlin.",
    ),
    AfterValidator(check_time_zone),
]
ScheduledTask = Annotated[
    WantedTask,
    BeforeValidator(_without_token),
    Field(description="The task to start: the body of `POST /start-task` without `github_token`."),
]
ScheduleName = Annotated[
    Annotated[NotBlank, Field(max_length=100)] | None,
    Field(description="Name by which you recognize the schedule in the list."),
]
Enabled = Annotated[bool, Field(description="False pauses the schedule.")]


class NewSchedule(Body):
    """A schedule to store."""

    model_config = example(cron="30 6 * * 1-5", time_zone="Europe/Berlin", task=EXAMPLE_TASK)

    name: ScheduleName = None
    cron: Cron
    time_zone: TimeZone = "UTC"
    task: ScheduledTask
    is_enabled: Enabled = True


class ScheduleChange(Body):
    """Fields of a schedule to change; `task` is replaced as a whole."""

    model_config = example(is_enabled=False)

    name: ScheduleName = None
    cron: Cron = Field(default_factory=str)
    time_zone: TimeZone = Field(default_factory=str)
    task: ScheduledTask | None = None
    is_enabled: Enabled = Field(default_factory=bool)

    @property
    def columns(self) -> Json:
        """The columns to change."""
        given = self.model_dump(exclude_unset=True, exclude={"task"})
        return given if self.task is None else {**given, "task": stored_task(self.task)}


def stored_task(task: WantedTask) -> Json:
    """Return what a schedule stores of a task: the fields that were sent."""
    return task.model_dump(mode="json", exclude_unset=True)


def schedule_row(schedule: Schedule) -> ScheduleRow:
    """Return the row of a schedule."""
    names = ScheduleRow.__annotations__
    return cast("ScheduleRow", {name: getattr(schedule, name) for name in names})
