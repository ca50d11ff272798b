"""The contract of every database for changes of tasks and for tickets of streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from database import Database
from tests.support.database.samples import (
    COMPLETED,
    LATER,
    LONG_AGO,
    NOBODY,
    PENDING,
    RUNNING,
    STRANGER,
    USER,
    all_at_once,
    event,
    new_task,
    running_task,
)
from tests.support.waiting import eventually
from utils.database.announcing import ANNOUNCED
from utils.errors import Unauthenticated
from utils.models.events import EventBatch
from utils.models.runs import AgentRun

READING = ("count_", "find_", "get_", "has_", "list_")
NOT_SEEN = frozenset(
    {"choose_task", "claim_unfinished_tasks", "import_tasks", "record_task_sandbox"}
)
"""Operations on tasks that change nothing that a stream shows of an active task."""


def woken(
    database: Database, change: Callable[[], object], *, task_id: int | None = None
) -> set[int]:
    """Return the tasks of which a listener hears: to one task, or to those of `USER`."""

    async def listen() -> set[int]:
        listener = {"task_id": task_id} if task_id else {"user_id": USER}
        with database.changes.subscribe(**listener) as subscription:
            await asyncio.to_thread(change)
            return await subscription.wait(0.01)

    return asyncio.run(listen())


def test_every_change_of_a_task_wakes_who_listens(database: Database) -> None:
    task = database.create_task(USER, new_task())
    run = AgentRun(task.id, "sandbox", "0" * 40, LATER, {}, {})
    batch = EventBatch((event(1),))
    changes: list[Callable[[], object]] = [
        lambda: database.claim_task(task.id),
        lambda: database.save_progress(task.id, batch),
        lambda: database.save_progress(task.id, batch, fields={"stage": "agent"}),
        lambda: database.start_run(run, batch),
        lambda: database.append_events(USER, task.id, [event(2)]),
        lambda: database.append_chat_message(USER, task.id, "user", "more"),
        lambda: database.finish_task(task.id, COMPLETED, {}, None),
        lambda: database.set_pull_request(USER, task.id, {"pr_number": 1}),
        lambda: database.delete_task(USER, task.id),
    ]
    for change in changes:
        assert woken(database, change, task_id=task.id) == {task.id}


def test_a_user_hears_of_rows_that_change_and_not_of_each_event(database: Database) -> None:
    created = []
    assert woken(database, lambda: created.append(database.create_task(USER, new_task())))
    [task] = created
    assert woken(database, lambda: database.create_task_group(USER, [new_task()] * 2))
    batch = EventBatch((event(1),))
    assert woken(database, lambda: database.move_task(task.id, {PENDING}, RUNNING)) == {task.id}
    # A server that looks for changes once a second may find an earlier one now.
    eventually(lambda: not woken(database, lambda: database.save_progress(task.id, batch)))
    staged = {"stage": "agent"}
    assert woken(database, lambda: database.save_progress(task.id, batch, fields=staged))
    eventually(lambda: not woken(database, lambda: database.create_task(STRANGER, new_task())))


def test_a_refused_change_wakes_nobody(database: Database) -> None:
    task = database.create_task(USER, new_task())
    refused = partial(database.move_task, task.id, {RUNNING}, COMPLETED)
    # A server that looks for changes once a second may find the new task now.
    eventually(lambda: not woken(database, refused))


def test_every_operation_that_changes_tasks_is_announced() -> None:
    operations = {
        name
        for name in dir(Database)
        if ("task" in name or "event" in name or "progress" in name)
        and not name.startswith(("_", *READING))
    }
    assert operations - ANNOUNCED.keys() == NOT_SEEN


def test_marks_show_what_has_changed(database: Database) -> None:
    first, second = running_task(database), running_task(database)
    other = database.create_task(STRANGER, new_task())
    before = datetime.now(UTC) + timedelta(minutes=1)
    database.save_progress(first.id, EventBatch((event(1), event(2))))
    [mark] = database.list_task_marks([first.id], [], before)
    stored = database.get_task_status(USER, first.id)
    assert (mark.id, mark.user_id, mark.last_sequence) == (first.id, USER, 2)
    assert mark.updated_at == stored.updated_at
    assert database.get_task_updated_at(USER, first.id) == stored.updated_at
    assert database.get_task_updated_at(STRANGER, first.id) is None
    of_user = database.list_task_marks([], [USER], LONG_AGO)
    assert {mark.id for mark in of_user} == {first.id, second.id}
    assert database.list_task_marks([], [USER], before) == []
    both = database.list_task_marks([other.id, 999_999], [USER], LONG_AGO)
    assert {mark.id for mark in both} == {first.id, second.id, other.id}
    assert database.list_task_marks([], [], LONG_AGO) == []


def test_a_ticket_is_valid_once_until_it_expires(database: Database) -> None:
    now = datetime.now(UTC)
    later = now + timedelta(seconds=60)
    database.add_stream_ticket(USER, "fresh", later)
    assert database.use_stream_ticket("unknown", now) is None
    uses = all_at_once([lambda: database.use_stream_ticket("fresh", now)] * 4)
    assert sorted(map(str, uses)) == sorted([USER, "None", "None", "None"])
    database.add_stream_ticket(USER, "old", later)
    assert database.use_stream_ticket("old", later) is None
    with pytest.raises(Unauthenticated):
        database.add_stream_ticket(NOBODY, "nobody's", later)


def test_expired_tickets_are_deleted_with_the_next_one(database: Database) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    database.add_stream_ticket(USER, "expired", past)
    database.add_stream_ticket(USER, "next", past + timedelta(minutes=1))
    assert database.use_stream_ticket("expired", past - timedelta(minutes=1)) is None
