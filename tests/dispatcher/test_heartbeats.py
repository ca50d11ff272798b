"""Tests of the heartbeat timeout, with a clock that the test moves."""

from __future__ import annotations

import copy

import pytest

from utils.database.sql.database import SqlDatabase
from utils.dispatcher.heartbeats import HEARTBEATS_PER_TIMEOUT, HeartbeatMonitor

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
    monkeypatch.setattr("utils.dispatcher.heartbeats.time", clock)
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
    assert heartbeats.exchange() == ([], [])
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
        assert monitor.exchange() == ([], [])


def test_time_in_which_the_watching_server_was_delayed_does_not_count(
    monitor: HeartbeatMonitor, clock: Clock
) -> None:
    clock.now += PAUSE_SECONDS
    assert monitor.exchange() == ([], [])
    clock.now += 10 * TIMEOUT_SECONDS
    assert monitor.exchange() == ([], [])
    # Two exchanges have counted, of which the second was late.
    assert exchanges_until_ended(monitor, clock) == HEARTBEATS_PER_TIMEOUT + 1 - 2


def test_a_server_that_is_always_late_detects_the_end_as_well(
    monitor: HeartbeatMonitor, clock: Clock
) -> None:
    for _ in range(HEARTBEATS_PER_TIMEOUT):
        clock.now += TIMEOUT_SECONDS
        assert monitor.exchange() == ([], [])
    clock.now += TIMEOUT_SECONDS
    assert monitor.exchange() == (["other"], [])
