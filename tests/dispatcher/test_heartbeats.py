"""Heartbeats: a server declares another one dead, by a clock that the test controls."""

from __future__ import annotations

import copy

import pytest

from utils.database.sql.database import SqlDatabase
from utils.dispatcher.heartbeats import HEARTBEATS_PER_TIMEOUT, HeartbeatMonitor

SILENCE_SECONDS = 60.0
PAUSE_SECONDS = SILENCE_SECONDS / HEARTBEATS_PER_TIMEOUT


class Clock:
    """Seconds that pass when told to."""

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
    """Another server on the same database, which has given a sign of life."""
    server = copy.copy(sqlite_database)
    server.server = "other"
    server.record_heartbeat()
    return server


@pytest.fixture
def watching(clock: Clock, sqlite_database: SqlDatabase, other: SqlDatabase) -> HeartbeatMonitor:
    """Provide a server that has seen the other one's heartbeat."""
    neighbours = HeartbeatMonitor(sqlite_database, SILENCE_SECONDS)
    assert neighbours.exchange() == ([], [])
    return neighbours


def looks_until_silent(neighbours: HeartbeatMonitor, clock: Clock) -> int:
    """Return how often a server looks, one look after the other, until one is silent."""
    for looks in range(1, 3 * HEARTBEATS_PER_TIMEOUT):
        clock.now += PAUSE_SECONDS
        if neighbours.exchange()[0]:
            return looks
    pytest.fail("nobody is silent")


def test_a_server_that_is_watched_in_vain_is_silent(
    watching: HeartbeatMonitor, clock: Clock
) -> None:
    assert looks_until_silent(watching, clock) == HEARTBEATS_PER_TIMEOUT + 1


def test_a_server_that_gives_signs_of_life_is_not_silent(
    watching: HeartbeatMonitor, clock: Clock, other: SqlDatabase
) -> None:
    for _ in range(3 * HEARTBEATS_PER_TIMEOUT):
        clock.now += PAUSE_SECONDS
        other.record_heartbeat()
        assert watching.exchange() == ([], [])


def test_time_in_which_a_server_was_held_up_itself_does_not_count(
    watching: HeartbeatMonitor, clock: Clock
) -> None:
    clock.now += PAUSE_SECONDS
    assert watching.exchange() == ([], [])
    clock.now += 10 * SILENCE_SECONDS
    assert watching.exchange() == ([], [])
    # Two looks have counted, of which the second was late.
    assert looks_until_silent(watching, clock) == HEARTBEATS_PER_TIMEOUT + 1 - 2


def test_a_server_that_is_always_late_finds_out_as_well(
    watching: HeartbeatMonitor, clock: Clock
) -> None:
    for _ in range(HEARTBEATS_PER_TIMEOUT):
        clock.now += SILENCE_SECONDS
        assert watching.exchange() == ([], [])
    clock.now += SILENCE_SECONDS
    assert watching.exchange() == (["other"], [])
