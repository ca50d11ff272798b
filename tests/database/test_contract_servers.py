"""The contract of every database for several servers that share it."""

from __future__ import annotations

import copy
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy import Connection, update

from database import Database
from tests.support.database.postgres_server import PostgresServer
from tests.support.database.samples import (
    CANCELLED,
    COMPLETED,
    PENDING,
    RUNNING,
    STRANGER,
    USER,
    all_at_once,
    append,
    event,
    new_task,
    running_task,
)
from tests.support.source_files import ROOT
from tests.support.waiting import eventually
from utils.config.settings import Settings
from utils.database.migrations import migrate
from utils.database.schema import tasks
from utils.database.sql import engine
from utils.database.sql.database import open_sql_database
from utils.errors import DatabaseUnavailable
from utils.models.events import NO_EVENTS
from utils.models.runs import AgentRun
from utils.models.tasks import QueuedTask, RunningTurn, TaskStatus
from utils.models.turns import NewTurn, TurnResult, TurnStatus


@pytest.fixture
def other(database: Database) -> Database:
    """Provide another server on the same database."""
    server = copy.copy(database)
    server.server = "other"
    return server


def ids(claimed: list[QueuedTask]) -> list[int]:
    return [task.id for task in claimed]


def test_each_server_sees_the_others_beat(database: Database, other: Database) -> None:
    assert database.record_heartbeat().others == {}
    assert other.record_heartbeat().others == {database.server: 1}
    database.record_heartbeat()
    assert other.record_heartbeat().others == {database.server: 2}
    assert database.record_heartbeat().others == {"other": 2}


def test_a_server_gets_back_what_an_earlier_process_of_it_left(database: Database) -> None:
    waiting = database.create_task(STRANGER, new_task())
    running = running_task(database)
    ended = running_task(database)
    database.move_task(ended.id, {RUNNING}, CANCELLED)
    database.record_heartbeat()
    assert database.claim_unfinished_tasks() == []
    assert database.claim_unfinished_tasks(own=True) == [
        QueuedTask(waiting.id, STRANGER, PENDING, 0, None),
        QueuedTask(running.id, USER, RUNNING, 1, running.stage),
    ]


def test_the_tasks_of_a_server_that_beats_are_left_to_it(
    database: Database, other: Database
) -> None:
    task = running_task(database)
    database.record_heartbeat()
    other.record_heartbeat()
    assert other.claim_unfinished_tasks(own=True) == []
    assert ids(database.claim_unfinished_tasks(own=True)) == [task.id]


def test_the_tasks_of_a_silent_server_change_hands_once(
    database: Database, other: Database
) -> None:
    tasks = [database.create_task(USER, new_task()).id, running_task(database).id]
    database.record_heartbeat()
    other.record_heartbeat()
    assert ids(other.claim_unfinished_tasks([database.server])) == tasks
    assert other.claim_unfinished_tasks([database.server]) == []
    assert other.record_heartbeat().others == {}
    assert database.claim_unfinished_tasks(own=True) == []
    assert database.claim_task(tasks[0]) is None
    assert other.claim_task(tasks[0]) is not None


def test_of_two_that_adopt_at_once_each_task_goes_to_one(
    database: Database, other: Database
) -> None:
    dead = copy.copy(database)
    dead.server = "dead"
    dead.record_heartbeat()
    database.record_heartbeat()
    other.record_heartbeat()
    tasks = [dead.create_task(USER, new_task()).id for _ in range(20)]
    taken = all_at_once(
        [
            lambda: database.claim_unfinished_tasks(["dead"]),
            lambda: other.claim_unfinished_tasks(["dead"]),
        ]
    )
    assert sorted(ids(taken[0]) + ids(taken[1])) == tasks


def test_a_task_of_a_server_that_never_showed_itself_is_adopted(
    database: Database, other: Database
) -> None:
    task = database.create_task(USER, new_task())
    other.record_heartbeat()
    assert ids(other.claim_unfinished_tasks()) == [task.id]


def test_what_a_server_writes_about_a_task_that_was_taken_over_is_dropped(
    database: Database, other: Database
) -> None:
    task = running_task(database)
    assert append(database, task.id, event(1))
    other.record_heartbeat()
    other.claim_unfinished_tasks([database.server])
    before = other.get_task(USER, task.id)
    run = AgentRun(task.id, "box", "c0ffee", before.created_at, {}, {})
    assert not append(database, task.id, event(2))
    assert not database.save_progress(task.id, NO_EVENTS, fields={"stage": "late"})
    assert not database.start_run(run, NO_EVENTS)
    assert database.finish_task(task.id, COMPLETED, {"git_patch": "late"}, None) is None
    assert database.move_task(task.id, {RUNNING}, PENDING) is None
    assert database.claim_task(task.id, again=True) is None
    assert other.get_task(USER, task.id) == before
    assert len(other.list_events(USER, task.id)) == 1
    assert other.start_run(run, NO_EVENTS)
    assert other.finish_task(task.id, COMPLETED, {}, None) is not None


def test_any_server_may_cancel_a_task_that_waits(database: Database, other: Database) -> None:
    task = database.create_task(USER, new_task())
    assert other.move_task(task.id, {PENDING}, CANCELLED) is not None
    assert database.claim_task(task.id) is None


def test_a_stop_reaches_the_server_that_runs_the_task(database: Database, other: Database) -> None:
    task, own = running_task(database), running_task(other)
    assert other.request_stop(USER, task.id)
    assert database.record_heartbeat().stops == [task.id]
    assert other.record_heartbeat().stops == []
    database.move_task(task.id, {RUNNING}, PENDING)
    assert database.claim_task(task.id) is not None
    assert database.record_heartbeat().stops == []
    assert not other.request_stop(STRANGER, own.id)
    assert not other.request_stop(USER, 12345)


def test_an_interrupting_turn_reaches_the_server_that_runs_the_task_until_the_turn_ends(
    database: Database, other: Database
) -> None:
    task = running_task(database)
    plain, interrupting = NewTurn("And this"), NewTurn("Stop", interrupts=True)
    assert other.add_turn(USER, task.id, plain).turn.interrupts is None
    assert database.record_heartbeat().interrupted == []
    assert other.add_turn(USER, task.id, interrupting).turn.interrupts == 1
    other.add_turn(USER, task.id, interrupting)
    assert database.record_heartbeat().interrupted == [RunningTurn(task.id, 1)]
    assert other.record_heartbeat().interrupted == []
    # After a restart the turn begins anew, and the server reads this when it claims the task.
    database.move_task(task.id, {RUNNING}, PENDING)
    assert database.record_heartbeat().interrupted == []
    again = database.claim_task(task.id)
    assert again is not None
    assert again.is_interrupted
    ended = replace(again.running_turn, status=TurnStatus.CANCELLED)
    result = TurnResult(ended, goes_on=True)
    database.finish_task(task.id, CANCELLED, {}, None, [], NO_EVENTS, result)
    # The next one is not the turn that ran when the message was sent.
    later = database.claim_task(task.id)
    assert later is not None
    assert later.turn is not None
    assert (later.turn.number, later.is_interrupted) == (2, False)
    assert database.record_heartbeat().interrupted == []


@pytest.mark.parametrize("status", [PENDING, COMPLETED, CANCELLED])
def test_only_a_task_that_runs_can_be_asked_to_stop(database: Database, status: TaskStatus) -> None:
    task = running_task(database)
    database.move_task(task.id, {RUNNING}, status)
    assert not database.request_stop(USER, task.id)
    assert database.record_heartbeat().stops == []


def test_the_tasks_of_a_server_that_froze_in_a_transaction_are_taken_over(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.model_validate({"database_url": postgres_server.create("frozen")})
    migrate(settings)
    monkeypatch.setattr(engine, "IDLE_TRANSACTION_SECONDS", 1)
    database = open_sql_database(settings)
    other = copy.copy(database)
    other.server = "other"
    database.ensure_user(USER)
    task = running_task(database)
    database.record_heartbeat()
    has_locked, may_go_on = threading.Event(), threading.Event()

    def freeze(connection: Connection) -> None:
        connection.execute(update(tasks).values(stop_requested=True))
        has_locked.set()
        may_go_on.wait()

    def write() -> None:
        with suppress(DatabaseUnavailable):
            database.engines.write(freeze)

    frozen = threading.Thread(target=write)
    frozen.start()
    try:
        has_locked.wait()
        assert [one.id for one in other.claim_unfinished_tasks([database.server])] == [task.id]
    finally:
        may_go_on.set()
        frozen.join()
        database.close()


WRITER = """
import sys
from contextlib import suppress
from datetime import UTC, datetime
from sqlalchemy import bindparam, delete, update
from utils.database.schema import task_events
from utils.database.sql.engine import open_postgresql
from utils.database.sql.prepared import add_rows
from utils.errors import DatabaseUnavailable

def write(connection):
    common = {"task_id": int(sys.argv[2]), "at": datetime.now(UTC), "kind": "output", "data": {}}
    add_rows(connection, task_events, [{**common, "sequence": n} for n in range(1000)])
    change = update(task_events).where(task_events.c.sequence == bindparam("this"))
    connection.execute(change.values(kind="status"), [{"this": n} for n in range(1000)])
    connection.execute(delete(task_events))

engines = open_postgresql(sys.argv[1], 1, idle_seconds=0.2)
while True:
    with suppress(DatabaseUnavailable):
        engines.write(write)
"""

# Those that have written. The first connection begins with one in which nothing is locked.
OPEN_TRANSACTIONS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND backend_xid IS NOT NULL"
)


def test_a_server_that_froze_in_the_middle_of_a_statement_holds_no_locks(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.create("frozen_statement")
    migrate(Settings.model_validate({"database_url": url}))
    engines = engine.open_postgresql(url, 1, idle_seconds=0.05)
    with psycopg.connect(url, autocommit=True) as rows, engines.writers.connect() as connection:
        frozen = connection.connection.dbapi_connection
        assert isinstance(frozen, psycopg.Connection)
        sent = frozen.pgconn
        sent.enter_pipeline_mode()
        for statement in (b"BEGIN", b"SELECT pg_current_xact_id()"):
            sent.send_query_params(statement, [])
        sent.send_flush_request()
        sent.flush()
        eventually(lambda: rows.execute(OPEN_TRANSACTIONS).fetchone() != (0,))
        # More would come, were it not frozen.
        eventually(lambda: rows.execute(OPEN_TRANSACTIONS).fetchone() == (0,))
        connection.invalidate()
    engines.close()


def test_a_server_that_froze_while_it_wrote_many_rows_holds_no_locks(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.create("frozen_writer")
    settings = Settings.model_validate({"database_url": url})
    migrate(settings)
    database = open_sql_database(settings)
    database.ensure_user(USER)
    arguments = [url, str(running_task(database).id)]
    database.close()
    with (
        psycopg.connect(url, autocommit=True) as rows,
        subprocess.Popen([sys.executable, "-c", WRITER, *arguments], cwd=ROOT) as writer,
    ):

        def are_open() -> bool:
            return rows.execute(OPEN_TRANSACTIONS).fetchone() != (0,)

        try:
            for _ in range(5):
                eventually(are_open)
                writer.send_signal(signal.SIGSTOP)
                eventually(lambda: not are_open())
                writer.send_signal(signal.SIGCONT)
        finally:
            writer.kill()
