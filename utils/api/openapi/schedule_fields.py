"""Describes the fields of schedules; see `fields`."""

from __future__ import annotations

from utils.api.openapi.field_text import FieldText
from utils.api.requests import EXAMPLE_REPOSITORY

SCHEDULE_FIELDS: dict[str, FieldText] = {
    "schedule": FieldText("The schedule."),
    "schedules": FieldText("The schedules, newest first."),
    "ScheduleRow.name": FieldText("The name, null without one.", "Nightly update"),
    "cron": FieldText("When tasks start, in the five fields of cron.", "30 6 * * 1-5"),
    "time_zone": FieldText("The time zone of `cron`.", "Europe/Berlin"),
    "ScheduleRow.task": FieldText(
        "The task to start, as it was sent.",
        {
            "prompt": "Update the dependencies, and run the tests.",
            "repo_url": EXAMPLE_REPOSITORY,
        },
    ),
    "is_enabled": FieldText("False while the schedule is paused.", example=True),
    "next_run_at": FieldText("The next moment, null while it is paused.", "2027-02-01T05:30:00Z"),
    "last_run_at": FieldText("When its last task was stored, null before.", "2027-01-29T05:30:00Z"),
    "last_task_id": FieldText(
        "Its last task, or the first one of its group. It may have been deleted.", 1
    ),
    "last_error": FieldText("Says why the last moment started no task, null if it did.", None),
    "last_error_code": FieldText("The stable name of the last error.", None),
    "refusals": FieldText("How many moments in a row have started no task.", 0),
}
