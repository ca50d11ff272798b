"""What every database must keep so that another process can go on with a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import update

from database import Database
from tests.database_samples import (
    CANCELLED,
    COMPLETED,
    FAILED,
    LATER,
    NOBODY,
    PENDING,
    RUNNING,
    STRANGER,
    USER,
    all_at_once,
    new_task,
    project_fields,
    running_task,
)
from utils.database_schema import users
from utils.database_sql import SqlDatabase
from utils.errors import NotFound
from utils.models import AgentRun, Event, TaskStatus

pytest_plugins = ("tests.database_fixtures",)


def run_of(task_id: int, sandbox_id: str = "sandbox-1") -> AgentRun:
    return AgentRun(
        task_id=task_id,
        sandbox_id=sandbox_id,
        base_commit="c0ffee" * 6 + "beef",
        agent_started_at=LATER,
        stage_seconds={"cloning": 0.25},
        position={"stage": "agent"},
    )


def event(number: int) -> Event:
    return Event("output", {"text": f"Line {number}"}, LATER + timedelta(seconds=number))


def texts(database: Database, task_id: int) -> list[str]:
    return [stored.data["text"] for stored in database.list_events(USER, task_id)]


def test_a_run_is_stored_with_its_events_and_found_again(database: Database) -> None:
    task, other = running_task(database), running_task(database)
    assert database.get_run(task.id) is None
    assert database.start_run(run_of(task.id), [event(1), event(2)])
    assert database.get_run(task.id) == run_of(task.id)
    assert texts(database, task.id) == ["Line 1", "Line 2"]
    assert database.get_run(other.id) is None
    assert database.get_task_status(USER, task.id) == task


def test_a_run_without_events_is_stored_too(database: Database) -> None:
    task = running_task(database)
    assert database.start_run(run_of(task.id), [])
    assert database.get_run(task.id) == run_of(task.id)
    assert database.list_events(USER, task.id) == []


def test_a_second_run_of_a_task_replaces_the_first(database: Database) -> None:
    task = running_task(database)
    database.start_run(run_of(task.id, "lost"), [event(1)])
    assert database.start_run(run_of(task.id, "new"), [event(2)])
    assert database.get_run(task.id) == run_of(task.id, "new")
    assert database.list_run_sandboxes() == ["new"]
    assert texts(database, task.id) == ["Line 1", "Line 2"]


@pytest.mark.parametrize("status", [PENDING, COMPLETED, FAILED, CANCELLED])
def test_a_task_that_does_not_run_starts_no_agent(database: Database, status: TaskStatus) -> None:
    task = running_task(database)
    database.move_task(task.id, {RUNNING}, status)
    assert not database.start_run(run_of(task.id), [event(1)])
    assert database.get_run(task.id) is None
    assert database.list_events(USER, task.id) == []
    assert not database.start_run(run_of(12345), [event(1)])


def test_of_a_start_and_a_cancel_at_once_only_one_is_there_afterwards(database: Database) -> None:
    for _ in range(10):
        task = running_task(database)
        works: list[Callable[[], object]] = [
            partial(database.start_run, run_of(task.id), [event(1)]),
            partial(database.move_task, task.id, {RUNNING}, CANCELLED),
        ]
        all_at_once(works)
        assert database.get_task_status(USER, task.id).status is CANCELLED
        assert database.get_run(task.id) is None


@pytest.mark.parametrize("status", [PENDING, COMPLETED, FAILED, CANCELLED])
def test_a_run_is_forgotten_when_its_task_moves_on(database: Database, status: TaskStatus) -> None:
    task, other = running_task(database), running_task(database)
    database.start_run(run_of(task.id, "one"), [])
    database.start_run(run_of(other.id, "two"), [])
    assert database.move_task(task.id, {PENDING}, CANCELLED) is None
    assert database.get_run(task.id) is not None
    database.move_task(task.id, {RUNNING}, status)
    assert database.get_run(task.id) is None
    assert database.list_run_sandboxes() == ["two"]


def test_a_finished_task_has_no_run_any_more(database: Database) -> None:
    task = running_task(database)
    database.start_run(run_of(task.id), [])
    assert database.finish_task(task.id, COMPLETED, {}, None) is not None
    assert database.get_run(task.id) is None


def test_the_run_of_a_deleted_task_is_gone(database: Database) -> None:
    project = database.create_project(USER, project_fields())
    task = running_task(database, project_id=project.id)
    database.start_run(run_of(task.id), [])
    database.delete_project(USER, project.id)
    assert database.get_run(task.id) is None
    assert database.list_run_sandboxes() == []


def test_the_sandboxes_of_all_users_are_listed(database: Database) -> None:
    assert database.list_run_sandboxes() == []
    ids = []
    for number, user_id in enumerate((USER, STRANGER, USER)):
        task = database.create_task(user_id, new_task())
        database.move_task(task.id, {PENDING}, RUNNING)
        database.start_run(run_of(task.id, f"sandbox-{number}"), [])
        ids.append(f"sandbox-{number}")
    assert sorted(database.list_run_sandboxes()) == ids


def test_a_position_is_stored_with_the_events_it_is_about(database: Database) -> None:
    task, other = running_task(database), running_task(database)
    for one in (task, other):
        database.start_run(run_of(one.id), [event(1)])
    position = {"stdout": 2, "stderr": 1, "bytes_left": 10, "stage": "agent", "ö": "☃"}
    database.append_events(task.id, [event(2)], position)
    assert database.get_run(task.id) == replace(run_of(task.id), position=position)
    assert database.get_run(other.id) == run_of(other.id)
    assert texts(database, task.id) == ["Line 1", "Line 2"]


def test_resumes_are_counted_until_the_run_gets_further(database: Database) -> None:
    task, other = running_task(database), running_task(database)
    for one in (task, other):
        database.start_run(run_of(one.id), [])
    for _ in range(3):
        database.count_resume(task.id)
    database.append_events(task.id, [event(1)])
    assert database.get_run(task.id) == replace(run_of(task.id), resumes=3)
    assert database.get_run(other.id) == run_of(other.id)
    database.append_events(task.id, [event(2)], {"stdout": 1})
    assert database.get_run(task.id) == replace(run_of(task.id), position={"stdout": 1})
    database.count_resume(12345)


def test_events_without_a_position_leave_it_as_it_is(database: Database) -> None:
    task = running_task(database)
    database.start_run(run_of(task.id), [])
    database.append_events(task.id, [event(1)], {"stdout": 1})
    database.append_events(task.id, [event(2)])
    database.append_events(task.id, [], {"stdout": 3})
    run = database.get_run(task.id)
    assert run is not None
    assert run.position == {"stdout": 1}


def test_a_position_without_a_run_is_dropped(database: Database) -> None:
    task = running_task(database)
    database.append_events(task.id, [event(1)], {"stdout": 1})
    database.append_events(12345, [event(1)], {"stdout": 1})
    assert database.get_run(task.id) is None
    assert texts(database, task.id) == ["Line 1"]


def test_a_task_is_finished_together_with_its_last_events(database: Database) -> None:
    task = running_task(database)
    database.append_events(task.id, [event(1)])
    assert database.finish_task(task.id, FAILED, {}, None, (), [event(2), event(3)]) is not None
    stored = database.list_events(USER, task.id)
    assert [(one.sequence, one.data["text"]) for one in stored] == [
        (1, "Line 1"),
        (2, "Line 2"),
        (3, "Line 3"),
    ]


def test_the_events_of_a_late_result_are_dropped_with_it(database: Database) -> None:
    task = running_task(database)
    database.move_task(task.id, {RUNNING}, CANCELLED)
    assert database.finish_task(task.id, COMPLETED, {}, None, (), [event(1)]) is None
    assert database.finish_task(12345, COMPLETED, {}, None, (), [event(1)]) is None
    assert database.list_events(USER, task.id) == []


def test_of_two_results_at_once_only_one_is_stored_with_its_events(database: Database) -> None:
    task = running_task(database)
    finish = partial(database.finish_task, task.id, COMPLETED, {}, None, (), [event(1), event(2)])
    results = all_at_once([finish] * 4)
    assert [result is not None for result in results].count(True) == 1
    assert texts(database, task.id) == ["Line 1", "Line 2"]


def store_preferences(database: SqlDatabase, value: object) -> None:
    """Write a user's own row, as the web application does."""
    change = update(users).where(users.c.id == USER).values(preferences=value)
    database.engines.write(lambda connection: connection.execute(change))


def test_preferences_are_those_of_the_user(database: SqlDatabase) -> None:
    preferences = {"claudeCode": {"env": {"NAME": "värde"}, "credentials": None}, "n": [1]}
    assert database.get_preferences(USER) == {}
    store_preferences(database, preferences)
    assert database.get_preferences(USER) == preferences
    assert database.get_preferences(STRANGER) == {}
    with pytest.raises(NotFound):
        database.get_preferences(NOBODY)


@pytest.mark.parametrize("value", [None, [], ["a"], "text", 1])
def test_preferences_of_another_shape_are_none(database: SqlDatabase, value: object) -> None:
    store_preferences(database, value)
    assert database.get_preferences(USER) == {}
