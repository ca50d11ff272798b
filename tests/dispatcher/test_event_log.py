"""Tests that the events of a running task are stored once, even when an answer is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio import to_thread

from tests.support.database.samples import COMPLETED, LATER, USER, running_task
from tests.support.waiting import eventually
from utils.database.sql.database import SqlDatabase
from utils.dispatcher.event_log import EventLog
from utils.errors import DatabaseUnavailable
from utils.models.runs import AgentRun
from utils.models.tasks import Stage, Task
from utils.redaction import Redactor

pytestmark = pytest.mark.anyio


def lose_answers(monkeypatch: pytest.MonkeyPatch, database: SqlDatabase, verb: str) -> None:
    """Let the next call of a method succeed in the database and raise an error all the same."""
    real: Callable[..., Any] = getattr(database, verb)

    def lose(*arguments: Any, **options: Any) -> None:
        monkeypatch.setattr(database, verb, real)
        real(*arguments, **options)
        raise DatabaseUnavailable("The answer to the commit was lost.")

    monkeypatch.setattr(database, verb, lose)


def log_of(database: SqlDatabase, task: Task) -> EventLog:
    claimed = database.claim_task(task.id, again=True)
    assert claimed is not None
    log = EventLog(database, Redactor(), task.id)
    log.start_after(claimed.last_sequence)
    return log


def say(log: EventLog, *numbers: int) -> None:
    for number in numbers:
        log.report("output", {"text": f"line {number}"}, {"stdout": number})


def run_of(task: Task, log: EventLog) -> AgentRun:
    return AgentRun(task.id, "sandbox", "c0ffee", LATER, {}, log.position)


def texts(database: SqlDatabase, task: Task) -> list[str]:
    """Return the texts and the stages of the stored events."""
    stored = database.list_events(USER, task.id)
    return [event.data.get("text") or event.data["stage"] for event in stored]


async def write(log: EventLog, is_tried: Callable[[], bool]) -> None:
    """Run the writer until an attempt to write was made; then end the agent."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(log.run_writer, "sandbox")
        await to_thread.run_sync(eventually, is_tried)
        log.begin_stage(Stage.CAPTURING)
        # As at the end of a task: no check follows.
        tasks.cancel_scope.cancel()


async def test_a_run_and_what_is_appended_to_it(
    database: SqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = running_task(database)
    log = log_of(database, task)
    say(log, 1)
    lose_answers(monkeypatch, database, "start_run")
    with pytest.raises(DatabaseUnavailable):
        await log.store_run(run_of(task, log))
    assert await log.store_run(run_of(task, log))
    assert texts(database, task) == ["line 1"]
    say(log, 2, 3)
    lose_answers(monkeypatch, database, "save_progress")
    await write(log, lambda: len(texts(database, task)) >= 3)
    say(log, 4)
    assert database.finish_task(task.id, COMPLETED, {}, None, (), log.pending_batch())
    assert texts(database, task) == ["line 1", "line 2", "line 3", "capturing", "line 4"]


async def test_what_was_there_before_is_not_taken_for_its_own(
    database: SqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = running_task(database)
    earlier = log_of(database, task)
    say(earlier, 1, 2, 3)
    assert await earlier.store_run(run_of(task, earlier))
    tries: list[object] = []

    def fail(*_arguments: object, **_options: object) -> None:
        tries.append(None)
        raise DatabaseUnavailable("It was not even begun.")

    log = log_of(database, task)
    say(log, 4, 5)
    monkeypatch.setattr(database, "save_progress", fail)
    await write(log, lambda: bool(tries))
    monkeypatch.undo()
    assert await log.store_run(run_of(task, log))
    assert texts(database, task) == [*(f"line {number}" for number in range(1, 6)), "capturing"]


async def test_a_batch_that_is_being_written_when_the_agent_ends_is_stored_once(
    database: SqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = running_task(database)
    log = log_of(database, task)
    real, has_begun, may_go_on = database.save_progress, threading.Event(), threading.Event()

    def save_slowly(*arguments: Any, **options: Any) -> bool:
        has_begun.set()
        may_go_on.wait()
        return real(*arguments, **options)

    monkeypatch.setattr(database, "save_progress", save_slowly)
    writer = anyio.CancelScope()

    async def write_until_cancelled() -> None:
        with writer:
            await log.run_writer("sandbox")

    say(log, 1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write_until_cancelled)
        await to_thread.run_sync(eventually, has_begun.is_set)
        writer.cancel()
        await anyio.wait_all_tasks_blocked()
        has_left = writer.cancelled_caught
        may_go_on.set()
    assert not has_left
    say(log, 2)
    assert database.finish_task(task.id, COMPLETED, {}, None, (), log.pending_batch())
    assert texts(database, task) == ["line 1", "line 2"]
