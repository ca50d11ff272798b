"""The contract of every database for schedules."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from database import Database
from tests.support.database.samples import LATER, NOBODY, STRANGER, USER, all_at_once, new_task
from utils.errors import Conflict, NotFound, Unauthenticated
from utils.models.schedules import NewSchedule, Schedule
from utils.models.tasks import Task

DUE = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
NEXT = datetime(2099, 10, 26, 1, 30, tzinfo=UTC)
TASK = {"prompt": "Fix it \U0001f680", "repo_url": "https://github.com/octo/demo"}
OTHER = "another server"


def stored(database: Database, **changes: Any) -> Schedule:
    fields: dict[str, Any] = {
        "name": "Nightly",
        "cron": "30 3 * * *",
        "time_zone": "Europe/Berlin",
        "task": TASK,
        "is_enabled": True,
        "next_run_at": DUE,
    }
    return database.add_schedule(USER, NewSchedule(**(fields | changes)), 3)


def claimed(database: Database, until: datetime = LATER) -> Schedule:
    schedule = database.claim_schedule(until)
    assert schedule is not None
    return schedule


def start(database: Database, schedule: Schedule, moment: datetime = DUE) -> Task:
    text = moment.isoformat()
    return database.create_task(USER, new_task(schedule_id=schedule.id, scheduled_for=text))


def test_a_schedule_belongs_to_its_user_who_may_have_a_number_of_them(database: Database) -> None:
    first = stored(database)
    assert (first.task, first.next_run_at, first.refusals) == (TASK, DUE, 0)
    second = stored(database, name=None)
    assert database.list_schedules(USER) == [second, first]
    assert database.get_schedule(USER, first.id) == first
    assert database.list_schedules(STRANGER) == []
    for verb in (database.get_schedule, database.delete_schedule):
        with pytest.raises(NotFound):
            verb(STRANGER, first.id)
    stored(database)
    with pytest.raises(Conflict, match="3 schedules") as refused:
        stored(database)
    assert refused.value.code == "too_many_schedules"
    database.delete_schedule(USER, first.id)
    stored(database)
    new = NewSchedule(None, "0 0 * * *", "UTC", TASK, is_enabled=False, next_run_at=None)
    with pytest.raises(Unauthenticated):
        database.add_schedule(NOBODY, new, 3)


def test_a_change_is_refused_when_another_one_came_first(database: Database) -> None:
    seen = stored(database)
    claimed(database)
    changed = database.replace_schedule(seen, {"is_enabled": False, "next_run_at": None})
    assert changed is not None
    assert (changed.is_enabled, changed.next_run_at, changed.name) == (False, None, "Nightly")
    assert database.replace_schedule(seen, {"name": "Weekly"}) is None
    assert database.get_schedule(USER, seen.id) == changed


def test_of_several_servers_one_gets_the_schedule_that_is_due(database: Database) -> None:
    stored(database, next_run_at=LATER)
    stored(database, is_enabled=False)
    wanted = stored(database)
    servers = [database.owned_by(f"server {number}") for number in range(4)]
    claims = all_at_once([partial(one.claim_schedule, LATER) for one in servers])
    assert [claim.id for claim in claims if claim] == [wanted.id]


def test_another_server_gets_it_when_the_lease_is_over_and_the_same_one_after_a_restart(
    database: Database,
) -> None:
    stored(database)
    claimed(database)
    other = database.owned_by(OTHER)
    assert other.claim_schedule(LATER) is None
    again = claimed(database, datetime.now(UTC) - timedelta(seconds=60))
    taken = claimed(other)
    assert not database.end_schedule_run(again, {"next_run_at": NEXT})
    assert other.end_schedule_run(taken, {"next_run_at": NEXT})
    assert other.claim_schedule(LATER) is None
    assert database.get_schedule(USER, taken.id).next_run_at == NEXT


def test_a_start_that_is_put_off_waits_for_its_time(database: Database) -> None:
    stored(database)
    reason = {"last_error": "The queue is full.", "last_error_code": "queue_full"}
    held = claimed(database)
    assert database.end_schedule_run(held, {"claimed_until": LATER, **reason})
    assert database.claim_schedule(LATER) is None
    assert database.get_schedule(USER, held.id).last_error == reason["last_error"]


def test_a_moment_has_one_task_whoever_starts_it(database: Database) -> None:
    schedule = stored(database)
    database.end_schedule_run(claimed(database), {"last_error": "Spent", "refusals": 2})

    def attempt() -> Task | None:
        try:
            return start(database, schedule)
        except Conflict:
            return None

    [task] = [found for found in all_at_once([attempt] * 4) if found]
    assert (task.execution_metadata or {})["schedule_id"] == schedule.id
    now = database.get_schedule(USER, schedule.id)
    assert (now.started_for, now.last_task_id) == (DUE, task.id)
    assert (now.last_run_at, now.last_error, now.refusals) == (task.created_at, None, 0)
    assert database.end_schedule_run(claimed(database), {"next_run_at": NEXT})
    with pytest.raises(Conflict):
        start(database, schedule)
    later = start(database, schedule, NEXT)
    assert database.get_schedule(USER, schedule.id).last_task_id == later.id


def test_a_group_is_started_once_for_a_moment_or_not_at_all(database: Database) -> None:
    schedule = stored(database)
    second = new_task(schedule_id=schedule.id)
    first = replace(second, scheduled_for=DUE.isoformat())
    tasks = database.create_task_group(USER, [first, second])
    assert database.get_schedule(USER, schedule.id).last_task_id == tasks[0].id
    with pytest.raises(Conflict):
        database.create_task_group(USER, [first, second])
    assert database.list_tasks(USER).total == 2


def test_no_task_is_started_for_a_schedule_that_was_paused_deleted_or_is_anothers(
    database: Database,
) -> None:
    schedule = stored(database)
    new = new_task(schedule_id=schedule.id, scheduled_for=DUE.isoformat())
    with pytest.raises(Conflict):
        database.create_task(STRANGER, new)
    assert database.replace_schedule(schedule, {"is_enabled": False})
    with pytest.raises(Conflict):
        start(database, schedule)
    database.delete_schedule(USER, schedule.id)
    with pytest.raises(Conflict):
        start(database, schedule)
    assert database.list_tasks(USER).total == database.list_tasks(STRANGER).total == 0
