"""The contract of every database for records of usage."""

from __future__ import annotations

from dataclasses import astuple, replace
from functools import partial
from pathlib import Path

import pytest

from database import Database
from tests.fixtures.database import Query
from tests.support.database.samples import (
    COMPLETED,
    NOBODY,
    PENDING,
    STRANGER,
    USER,
    all_at_once,
    new_task,
    project_fields,
    running_task,
)
from tests.usage.records import LARGE, MIDNIGHT, NOON, SMALL, by, record
from utils.database.sql.database import SqlDatabase
from utils.dispatcher.result_outbox import FinishedTask, ResultOutbox
from utils.errors import NotFound
from utils.models.events import NO_EVENTS
from utils.models.turns import TurnResult, first_turn
from utils.models.usage import LARGEST_AMOUNT, SpendingQuery, Usage, UsageSum


def added(*usages: Usage) -> Usage:
    """Return the sum of amounts."""
    return Usage(*(sum(amounts) for amounts in zip(*map(astuple, usages), strict=True)))


def test_the_last_record_of_a_run_counts_and_is_summed_up_by_every_group(
    database: Database,
) -> None:
    project_id = database.create_project(USER, project_fields()).id
    first, second = (running_task(database, project_id=project_id).id for _ in range(2))
    third = running_task(database).id
    assert database.record_usage(record(first, LARGE, project_id=project_id))
    assert database.record_usage(record(first, project_id=project_id, at=MIDNIGHT))
    assert database.record_usage(record(second, LARGE, project_id=project_id, at=MIDNIGHT))
    database.add_usage(USER, record(third, run="push", agent="codex"))
    assert database.sum_usage(USER, by("day")) == [
        UsageSum("2026-11-30", 1, LARGE),
        UsageSum("2026-11-29", 2, added(SMALL, SMALL)),
    ]
    assert database.sum_usage(USER, by("project")) == [
        UsageSum(str(project_id), 2, added(SMALL, LARGE)),
        UsageSum(None, 1, SMALL),
    ]
    assert database.sum_usage(USER, by("agent")) == [
        UsageSum("codex", 1, SMALL),
        UsageSum("claude", 2, added(SMALL, LARGE)),
    ]
    assert database.sum_usage(USER, by("task", limit=2)) == [
        UsageSum(str(third), 1, SMALL),
        UsageSum(str(second), 1, LARGE),
    ]
    assert database.sum_usage(USER, by("day", last="2026-11-29")) == [
        UsageSum("2026-11-29", 2, added(SMALL, SMALL))
    ]
    assert database.sum_all_usage(by("user")) == [UsageSum(USER, 3, added(SMALL, SMALL, LARGE))]


def test_the_end_of_a_run_is_stored_with_what_it_has_used_or_not_at_all(
    database: Database,
) -> None:
    task = running_task(database)
    ended = TurnResult(first_turn(task).turn, usage=record(task.id, LARGE))
    assert database.finish_task(task.id, COMPLETED, {}, None, turn=ended)
    assert database.sum_usage(USER, by("task")) == [UsageSum(str(task.id), 1, LARGE)]
    late = replace(ended, usage=record(task.id, SMALL))
    assert database.finish_task(task.id, COMPLETED, {}, None, turn=late) is None
    assert not database.record_usage(record(task.id, SMALL))
    assert database.sum_usage(USER, by("task")) == [UsageSum(str(task.id), 1, LARGE)]


def test_usage_outlives_its_task_and_project(database: Database) -> None:
    project_id = database.create_project(USER, project_fields()).id
    task_id = running_task(database, project_id=project_id).id
    database.record_usage(record(task_id, project_id=project_id))
    database.delete_project(USER, project_id)
    assert database.sum_usage(USER, by("project")) == [UsageSum(str(project_id), 1, SMALL)]


def test_usage_of_another_user_is_never_read_or_written(database: Database) -> None:
    task_id = running_task(database).id
    database.record_usage(record(task_id))
    for group in ("day", "project", "agent", "task", "user"):
        assert database.sum_usage(STRANGER, by(group)) == []
    spent = database.read_spending(STRANGER, SpendingQuery(NOON, task_id=task_id))
    assert (spent.task, spent.day, spent.month) == (0, 0, 0)
    for user_id, wanted in ((STRANGER, task_id), (USER, task_id + 1), (NOBODY, task_id)):
        with pytest.raises(NotFound):
            database.add_usage(user_id, record(wanted, run="push"))


def test_spending_is_read_for_a_task_a_day_a_month_and_a_project(database: Database) -> None:
    project_id = database.create_project(USER, project_fields()).id
    task_id = running_task(database, project_id=project_id).id
    other_id = running_task(database).id
    last_month = MIDNIGHT.replace(month=10)
    for run, moment in (("one", NOON), ("two", MIDNIGHT), ("old", last_month)):
        made = record(task_id, run=run, at=moment, project_id=project_id)
        assert database.record_usage(made)
    database.record_usage(record(other_id, LARGE))
    query = SpendingQuery(NOON, project_id, task_id)
    spent = database.read_spending(USER, query)
    assert (spent.task, spent.day) == (3 * 310, 310 + 7_020)
    assert (spent.month, spent.project_month) == (2 * 310 + 7_020, 2 * 310)
    assert spent.project_settings == {"colour": "blue"}
    assert database.read_spending(USER, replace(query, but_run="one")).task == 2 * 310
    foreign = database.read_spending(STRANGER, query)
    assert (foreign.task, foreign.project_month, foreign.project_settings) == (0, 0, {})


def test_sums_of_days_are_exact_while_many_runs_are_recorded_at_once(
    database: Database, query: Query
) -> None:
    tasks = [running_task(database).id for _ in range(4)]
    days = (NOON, MIDNIGHT)
    all_at_once(
        [
            partial(database.record_usage, record(task_id, Usage(amount, 1, amount), at=moment))
            for amount in (3, 5, 7)
            for task_id, moment in zip(tasks, days * 2, strict=True)
        ]
    )
    [(rows, milliseconds)] = query("SELECT count(*), sum(sandbox_milliseconds) FROM usage_records")
    sums = database.sum_usage(USER, by("day"))
    assert (rows, sum(one.tasks for one in sums)) == (4, 4)
    assert sum(one.usage.sandbox_milliseconds for one in sums) == milliseconds


def test_amounts_that_no_sum_could_hold_are_cut(database: Database) -> None:
    for _ in range(3):
        task_id = running_task(database).id
        database.record_usage(record(task_id, Usage(model_micro_usd=2**80, input_tokens=-1)))
    [total] = database.sum_usage(USER, by("agent"))
    assert total.usage == Usage(model_micro_usd=3 * LARGEST_AMOUNT)


def test_usage_of_a_task_that_waits_is_not_recorded(database: Database) -> None:
    task = database.create_task(USER, new_task())
    assert task.status is PENDING
    assert not database.record_usage(record(task.id))
    assert database.sum_usage(USER, by("task")) == []


def test_usage_of_a_result_that_waited_on_disk_keeps_its_day(
    sqlite_database: SqlDatabase, tmp_path: Path
) -> None:
    sqlite_database.ensure_user(USER)
    task = running_task(sqlite_database)
    ended = TurnResult(first_turn(task).turn, usage=record(task.id, LARGE, at=NOON))
    outbox = ResultOutbox(tmp_path)
    outbox.save(FinishedTask(task.id, COMPLETED, {}, None, [], NO_EVENTS, ended))
    outbox.deliver(sqlite_database)
    assert sqlite_database.get_task(USER, task.id).status is COMPLETED
    assert sqlite_database.sum_usage(USER, by("day")) == [UsageSum("2026-11-29", 1, LARGE)]
