"""Tests that the servers of a database agree on where their tasks come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import structlog
from structlog.typing import EventDict

from database import Database
from tests.support.database.engine_projects import EngineProject
from tests.support.database.samples import ANY_SILENCE, NO_SILENCE, USER, all_at_once, new_task
from utils.config.settings import Settings
from utils.dispatcher.sources.choice import settle_task_engine
from utils.errors import ConfigurationError

SILENCE_SECONDS = 30
PAUSES = 7
"""The pauses that a server watches: those of the silence, and one more."""

SETTINGS = {"server_silence_seconds": SILENCE_SECONDS, "database_url": "postgresql://host/name"}
HIDE, SHOW = "ALTER SCHEMA absurd RENAME TO hidden", "ALTER SCHEMA hidden RENAME TO absurd"


class Clock:
    """A clock that goes on when somebody sleeps; servers send heartbeats then."""

    def __init__(self, *beating: Database) -> None:
        self.now = 1000.0
        self.pauses = 0
        self.beating = beating

    def monotonic(self) -> float:
        """Return the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self.now += seconds
        self.pauses += 1
        for server in self.beating:
            server.record_heartbeat()


@pytest.fixture
def queue(queue: EngineProject) -> EngineProject:
    queue.database.use_engine(None)
    return queue


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("utils.dispatcher.sources.choice.time", clock)
    return clock


@pytest.fixture
def logged() -> Iterator[list[EventDict]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


def settle(queue: EngineProject, name: str = "new", **settings: object) -> str:
    """Return where a server of this name takes its tasks from."""
    given = Settings.model_validate({**SETTINGS, **settings})
    return settle_task_engine(given, queue.worker(name)).task_engine


def uses_engine(queue: EngineProject) -> bool:
    row = queue.rows.execute("SELECT count(*) FROM engine_limits").fetchone()
    return row == (1,)


def test_a_server_alone_uses_the_engine_and_is_a_worker_at_once(
    queue: EngineProject, clock: Clock
) -> None:
    queue.worker("new").record_heartbeat()
    assert settle(queue) == "absurd"
    assert clock.pauses == 0
    assert uses_engine(queue)
    assert [one.name for one in queue.database.list_workers(ANY_SILENCE)] == ["new"]
    assert settle(queue, "web", work=False) == "absurd"
    assert [one.name for one in queue.database.list_workers(ANY_SILENCE)] == ["new"]


def test_a_server_does_without_the_engine_beside_one_that_sends_heartbeats(
    queue: EngineProject, clock: Clock, logged: list[EventDict]
) -> None:
    other = queue.worker("other")
    other.record_heartbeat()
    clock.beating = (other,)
    assert settle(queue) == "own"
    assert clock.pauses == 1
    assert not uses_engine(queue)
    assert other.record_heartbeat().others == {"new": 1}
    [warning] = [one for one in logged if one["action"] == "engine.not_used"]
    assert "Stop all servers once" in warning["reason"]
    with pytest.raises(ConfigurationError, match="Stop all servers once"):
        settle_task_engine(Settings.model_validate(SETTINGS), queue.worker("work"), must=True)
    assert other.record_heartbeat().others == {"new": 1}


def test_a_server_takes_over_from_those_that_have_ended_without_the_engine(
    queue: EngineProject, clock: Clock
) -> None:
    gone = queue.worker("gone")
    gone.record_heartbeat()
    running, waiting = (gone.create_task(USER, new_task()).id for _ in range(2))
    assert gone.claim_task(running) is not None
    assert settle(queue) == "absurd"
    assert clock.pauses == PAUSES
    claimed = queue.worker("new").engine_claim(30, 5)
    assert {run.task.id for run in claimed} == {running, waiting}
    assert settle(queue, "next") == "absurd"
    assert clock.pauses == PAUSES


def test_with_a_long_silence_others_count_as_at_work(queue: EngineProject, clock: Clock) -> None:
    queue.worker("other").record_heartbeat()
    assert settle(queue, server_silence_seconds=3600) == "own"
    assert clock.pauses == 0


def test_beside_workers_a_server_uses_the_engine_whoever_else_is_there(
    queue: EngineProject, clock: Clock
) -> None:
    queue.worker("other").record_heartbeat()
    queue.worker("worker").beat_worker("1.0", 4, 0, None)
    assert settle(queue) == "absurd"
    assert queue.worker("own").leave_engine(ANY_SILENCE) == ["new", "worker"]
    assert uses_engine(queue)
    assert queue.worker("own").leave_engine(NO_SILENCE) == []
    assert not uses_engine(queue)


@pytest.mark.parametrize("hidden", [True, False], ids=["missing", "too old"])
def test_without_an_engine_that_fits_a_server_does_as_before_and_says_what_to_do(
    queue: EngineProject,
    clock: Clock,
    logged: list[EventDict],
    hidden: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue.worker("gone").record_heartbeat()
    if hidden:
        queue.rows.execute(HIDE)
    else:
        for module in ("sql.task_engine", "supabase.task_engine", "engine_schema"):
            monkeypatch.setattr(f"utils.database.{module}.OLDEST", (99,))
    try:
        assert settle(queue) == "own"
        with pytest.raises(ConfigurationError, match=r"Run \./run\.sh migrate --engine"):
            settle_task_engine(Settings.model_validate(SETTINGS), queue.database, must=True)
    finally:
        if hidden:
            queue.rows.execute(SHOW)
    assert clock.pauses == 0
    [warning] = [one for one in logged if one["action"] == "engine.not_used"]
    assert ("has no task engine" if hidden else "too old") in warning["reason"]


def test_of_two_servers_that_start_at_once_the_later_one_does_what_the_first_does(
    queue: EngineProject,
) -> None:
    one, two = queue.worker("one"), queue.worker("two")
    for _ in range(10):
        joins: list[Callable[[], object]] = [
            lambda: one.join_engine(2, ANY_SILENCE, {}, "1.0").uses_engine,
            lambda: two.leave_engine(ANY_SILENCE),
        ]
        joined, workers = all_at_once(joins)
        assert (joined, workers) in [(True, ["one"]), (False, [])]
        assert uses_engine(queue) == joined
        queue.rows.execute("DELETE FROM servers; DELETE FROM workers; DELETE FROM engine_limits")


def test_who_only_asks_changes_nothing(queue: EngineProject) -> None:
    asking = queue.worker("asking")
    found = asking.join_engine(None, ANY_SILENCE, {}, "1.0")
    assert (found.uses_engine, found.workers, found.servers) == (True, [], {})
    queue.worker("other").record_heartbeat()
    assert asking.join_engine(None, ANY_SILENCE, {"other": 1}, "1.0").uses_engine
    assert not asking.join_engine(None, ANY_SILENCE, {"other": 0}, "1.0").uses_engine
    assert not uses_engine(queue)
    assert asking.record_heartbeat().others == {"other": 1}
    assert asking.list_workers(ANY_SILENCE) == []
