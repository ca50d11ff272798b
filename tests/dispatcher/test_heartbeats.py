"""Tests of the heartbeat timeout, with a clock that the test moves."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import anyio
import pytest

from tests.support.database.samples import USER, running_task
from tests.support.waiting import until
from utils.database.sql.database import SqlDatabase
from utils.dispatcher.sources.heartbeats import HEARTBEATS_PER_TIMEOUT, HeartbeatMonitor
from utils.models.tasks import QueuedTask

TIMEOUT_SECONDS = 60.0
PAUSE_SECONDS = TIMEOUT_SECONDS / HEARTBEATS_PER_TIMEOUT


class Clock:
    """A clock that only the test moves."""

    now = 1000.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("utils.dispatcher.sources.heartbeats.time", clock)
    return clock


@pytest.fixture
def other(sqlite_database: SqlDatabase) -> SqlDatabase:
    """Provide another server on the same database that has sent one heartbeat."""
    server = copy.copy(sqlite_database)
    server.server = "other"
    server.record_heartbeat()
    return server


@pytest.fixture
def monitor(clock: Clock, sqlite_database: SqlDatabase, other: SqlDatabase) -> HeartbeatMonitor:
    """Provide the monitor of a server that has seen the other one."""
    heartbeats = HeartbeatMonitor(sqlite_database, TIMEOUT_SECONDS)
    assert heartbeats.exchange()[0] == []
    return heartbeats


def exchanges_until_ended(monitor: HeartbeatMonitor, clock: Clock) -> int:
    """Return the number of exchanges until a server counts as ended."""
    for exchanges in range(1, 3 * HEARTBEATS_PER_TIMEOUT):
        clock.now += PAUSE_SECONDS
        if monitor.exchange()[0]:
            return exchanges
    pytest.fail("no server counts as ended")


def test_a_server_without_heartbeats_counts_as_ended(
    monitor: HeartbeatMonitor, clock: Clock
) -> None:
    assert exchanges_until_ended(monitor, clock) == HEARTBEATS_PER_TIMEOUT + 1


def test_a_server_with_heartbeats_does_not_count_as_ended(
    monitor: HeartbeatMonitor, clock: Clock, other: SqlDatabase
) -> None:
    for _ in range(3 * HEARTBEATS_PER_TIMEOUT):
        clock.now += PAUSE_SECONDS
        other.record_heartbeat()
        assert monitor.exchange()[0] == []


def test_time_in_which_the_watching_server_was_delayed_does_not_count(
    monitor: HeartbeatMonitor, clock: Clock
) -> None:
    clock.now += PAUSE_SECONDS
    assert monitor.exchange()[0] == []
    clock.now += 10 * TIMEOUT_SECONDS
    assert monitor.exchange()[0] == []
    # Two exchanges have counted, of which the second was late.
    assert exchanges_until_ended(monitor, clock) == HEARTBEATS_PER_TIMEOUT + 1 - 2


def test_a_server_that_is_always_late_detects_the_end_as_well(
    monitor: HeartbeatMonitor, clock: Clock
) -> None:
    for _ in range(HEARTBEATS_PER_TIMEOUT):
        clock.now += TIMEOUT_SECONDS
        assert monitor.exchange()[0] == []
    clock.now += TIMEOUT_SECONDS
    assert monitor.exchange()[0] == ["other"]


class OneTaskHere:
    """Holds one task and records the tasks that it is asked to resume."""

    def __init__(self, held: int) -> None:
        self.held = held
        self.resumed: list[int] = []

    def has_task(self, task_id: int) -> bool:
        """See `TaskHost`."""
        return task_id == self.held

    def cancel_soon(self, task_id: int) -> None:
        """See `TaskHost`."""

    def interrupt_soon(self, task_id: int, number: int) -> None:
        """See `TaskHost`."""

    def leave_tasks(self) -> None:
        """See `TaskHost`."""

    async def resume_tasks(self, tasks: Sequence[QueuedTask], *, taken_over: bool = False) -> None:
        """See `TaskHost`."""
        assert not taken_over
        self.resumed += [task.id for task in tasks]


@pytest.mark.anyio
async def test_a_search_for_own_tasks_resumes_only_those_that_are_not_here(
    sqlite_database: SqlDatabase,
) -> None:
    sqlite_database.ensure_user(USER)
    held, unknown = running_task(sqlite_database).id, running_task(sqlite_database).id
    monitor, host = HeartbeatMonitor(sqlite_database, 0.06), OneTaskHere(held)
    monitor.request_reclaim()
    async with anyio.create_task_group() as running:
        running.start_soon(monitor.run, host)
        await until(lambda: bool(host.resumed))
        running.cancel_scope.cancel()
    assert host.resumed == [unknown]
