"""Runs: leases, takeover, the fence, cancel, and what becomes of the engine's part of a task."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import time_machine

from tests.support.database.engine_projects import LEASE_SECONDS, EngineProject, numbers
from tests.support.database.samples import (
    ANY_SILENCE,
    CANCELLED,
    COMPLETED,
    FAILED,
    LONG_AGO,
    NO_SILENCE,
    PENDING,
    RUNNING,
    STRANGER,
    USER,
    all_at_once,
    append,
    event,
)
from utils.errors import ConfigurationError
from utils.models.engine import EngineBeat, EngineRun
from utils.models.events import NO_EVENTS
from utils.models.runs import AgentRun
from utils.models.tasks import QueuedTask, RunningTurn
from utils.models.turns import NewTurn

FINE = EngineBeat()


def claimed(queue: EngineProject, worker: str = "one", places: int = 5) -> list[EngineRun]:
    return queue.worker(worker).engine_claim(LEASE_SECONDS, places)


def extend(queue: EngineProject, *runs: EngineRun) -> EngineBeat:
    return queue.database.engine_beat([run.id for run in runs], LEASE_SECONDS)


def taken_over(queue: EngineProject, worker: str) -> list[EngineRun]:
    """Claim what nobody has extended. The claim that finds a lease over leaves it to the next."""
    queue.pass_time(LEASE_SECONDS + 1)
    return claimed(queue, worker) + claimed(queue, worker)


def one_run(queue: EngineProject) -> EngineRun:
    """Add a task, and start it as worker one."""
    queue.add()
    [run] = claimed(queue)
    queue.start(run)
    return run


def test_a_run_comes_with_the_row_of_its_task(queue: EngineProject) -> None:
    [number] = queue.add()
    [run] = claimed(queue)
    assert run == EngineRun(run.id, 1, QueuedTask(number, USER, PENDING, 0, None))
    task = queue.start(run)
    assert (task.status, task.attempt) == (RUNNING, 1)


def test_a_second_worker_gets_nothing_while_the_lease_lasts(queue: EngineProject) -> None:
    run = one_run(queue)
    queue.pass_time(LEASE_SECONDS - 5)
    assert claimed(queue, "two") == []
    assert extend(queue, run) == FINE
    queue.pass_time(LEASE_SECONDS - 5)
    assert claimed(queue, "two") == []


def test_a_silent_worker_loses_its_task_to_the_next_attempt(queue: EngineProject) -> None:
    first = one_run(queue)
    [second] = taken_over(queue, "two")
    assert (second.attempt, second.task.id, second.task.status) == (2, first.task.id, RUNNING)
    assert second.id != first.id
    assert extend(queue, first, second) == EngineBeat(lost=[first.id])


def test_of_workers_that_claim_at_once_each_gets_other_tasks(queue: EngineProject) -> None:
    queue.database.use_engine(20)
    added = queue.add(20)
    names = ("one", "two", "three", "four")
    runs = all_at_once([partial(claimed, queue, name) for name in names])
    assert sorted(number for some in runs for number in numbers(some)) == added


def test_all_that_an_old_run_writes_is_refused(queue: EngineProject) -> None:
    first = one_run(queue)
    zombie = queue.worker(first.id)
    assert append(zombie, first.task.id, event(1))
    [second] = taken_over(queue, "two")
    number = first.task.id
    before = queue.database.get_task(USER, number)
    agent = AgentRun(number, "box", "c0ffee", before.created_at, {}, {})
    assert not append(zombie, number, event(2))
    assert not zombie.save_progress(number, NO_EVENTS, fields={"stage": "late"})
    assert not zombie.start_run(agent, NO_EVENTS)
    assert zombie.finish_task(number, COMPLETED, {"git_patch": "late"}, None) is None
    assert zombie.move_task(number, {RUNNING}, FAILED) is None
    assert zombie.claim_task(number, again=True) is None
    assert not queue.worker("one").engine_later(first.id, 0)
    assert not queue.worker("one").engine_done(first.id)
    assert queue.database.get_task(USER, number) == before
    owner = queue.worker(second.id)
    assert owner.start_run(agent, NO_EVENTS)
    assert owner.finish_task(number, COMPLETED, {}, None) is not None
    assert set(extend(queue, first, second).lost) == {first.id, second.id}


def test_a_lease_that_is_over_is_extended_if_nobody_has_claimed(queue: EngineProject) -> None:
    run = one_run(queue)
    # As after an outage of the database that no worker survived unnoticed.
    queue.pass_time(10 * LEASE_SECONDS)
    assert extend(queue, run) == FINE
    assert claimed(queue, "two") == []
    result = queue.worker(run.id).finish_task(run.task.id, COMPLETED, {}, None)
    assert result is not None


def test_the_end_of_a_task_ends_its_run_in_the_same_transaction(queue: EngineProject) -> None:
    run = one_run(queue)
    assert queue.states(run.task.id) == ["running"]
    assert queue.worker(run.id).finish_task(run.task.id, COMPLETED, {}, None) is not None
    assert queue.states(run.task.id) == ["completed"]
    assert queue.admitted() == []
    assert taken_over(queue, "two") == []


def test_a_cancelled_task_that_waits_is_given_to_nobody(queue: EngineProject) -> None:
    [number] = queue.add()
    assert queue.database.move_task(number, {PENDING}, CANCELLED) is not None
    assert queue.states(number) == ["cancelled"]
    assert claimed(queue) == []


def test_deleted_tasks_are_taken_from_the_engine(queue: EngineProject) -> None:
    waiting, running = queue.add(2)
    runs = claimed(queue, places=1)
    assert numbers(runs) == [waiting]
    queue.rows.execute("DELETE FROM users WHERE id = %s", (USER,))
    assert queue.states(waiting) == ["completed"]
    assert queue.states(running) == ["cancelled"]
    assert claimed(queue, "two") == []
    assert extend(queue, *runs).lost == [runs[0].id]


def test_a_cancel_by_its_user_reaches_who_runs_the_task(queue: EngineProject) -> None:
    run = one_run(queue)
    assert queue.database.request_stop(USER, run.task.id)
    assert extend(queue, run) == EngineBeat(cancelled=[run.id])
    result = queue.worker(run.id).finish_task(
        run.task.id, CANCELLED, {"git_patch": "partial"}, None
    )
    assert result is not None
    assert queue.states(run.task.id) == ["completed"]


def test_a_cancel_survives_the_worker_that_was_told(queue: EngineProject) -> None:
    queue.database.request_stop(USER, one_run(queue).task.id)
    [second] = taken_over(queue, "two")
    assert extend(queue, second) == EngineBeat(cancelled=[second.id])


def test_a_task_that_an_operator_cancels_in_the_engine_is_cancelled(queue: EngineProject) -> None:
    run = one_run(queue)
    queue.rows.execute(
        "SELECT absurd.cancel_task('tasks', engine_task) FROM engine_tasks WHERE claim = %s",
        (run.id,),
    )
    assert extend(queue, run) == EngineBeat(cancelled=[run.id])
    result = queue.worker(run.id).finish_task(run.task.id, CANCELLED, {}, None)
    assert result is not None
    assert queue.admitted() == []


def test_a_task_that_the_engine_has_ended_is_admitted_again_when_nobody_reports(
    queue: EngineProject,
) -> None:
    run = one_run(queue)
    queue.rows.execute("SELECT absurd.cancel_task('tasks', engine_task) FROM engine_tasks")
    queue.database.engine_admit()
    assert claimed(queue, "two") == []
    queue.make_old(run.task.id, LONG_AGO)
    queue.database.engine_admit()
    [second] = claimed(queue, "two")
    assert second.task.id == run.task.id
    assert append(queue.worker(run.id), run.task.id, event(1)) is False


def test_a_run_that_is_put_off_counts_no_attempt(queue: EngineProject) -> None:
    run = one_run(queue)
    worker = queue.worker(run.id)
    assert worker.move_task(run.task.id, {RUNNING}, PENDING) is not None
    assert queue.database.engine_later(run.id, 60)
    assert not queue.database.engine_later(run.id, 60)
    assert extend(queue, run).lost == [run.id]
    assert claimed(queue) == []
    queue.pass_time(61)
    [again] = claimed(queue, "two")
    assert (again.task.id, again.attempt) == (run.task.id, 1)


def test_a_run_that_is_given_back_at_once_goes_before_what_waits(queue: EngineProject) -> None:
    queue.database.use_engine(3)
    first, second, third = queue.add(3)
    run, waiting = claimed(queue, places=2)
    queue.start(run)
    assert queue.database.engine_later(waiting.id, 0)
    assert queue.database.engine_later(run.id, 0)
    assert numbers(claimed(queue, "two")) == [first, third, second]


def test_a_run_without_a_result_is_followed_by_another(queue: EngineProject) -> None:
    run = one_run(queue)
    assert queue.database.engine_done(run.id)
    assert not queue.database.engine_done(run.id)
    [again] = claimed(queue, "two")
    assert (again.task.id, again.attempt) == (run.task.id, 1)
    assert queue.states(run.task.id) == ["completed", "running"]


def test_a_worker_that_starts_again_gives_back_what_it_had(queue: EngineProject) -> None:
    queue.database.use_engine(3)
    first, second, third = queue.add(3)
    one, other = claimed(queue, "one", 1), claimed(queue, "other", 1)
    [kept] = claimed(queue, "one", 1)
    assert (numbers(one), numbers(other), kept.task.id) == ([first], [second], third)
    assert queue.worker("one").engine_release([kept.id]) == 1
    assert numbers(claimed(queue, "two")) == [first]
    assert extend(queue, *other, kept) == FINE
    assert queue.worker("one").engine_release() == 1
    assert queue.worker("one").engine_release() == 0


def test_an_interrupting_turn_reaches_who_runs_the_task(queue: EngineProject) -> None:
    run = one_run(queue)
    queue.database.add_turn(USER, run.task.id, NewTurn("And this"))
    assert extend(queue, run) == FINE
    queue.database.add_turn(USER, run.task.id, NewTurn("Stop", interrupts=True))
    queue.database.add_turn(USER, run.task.id, NewTurn("Stop", interrupts=True))
    assert extend(queue, run) == EngineBeat(interrupted=[RunningTurn(run.task.id, 1)])


def test_a_later_turn_is_admitted_again(queue: EngineProject) -> None:
    run = one_run(queue)
    queue.worker(run.id).finish_task(run.task.id, COMPLETED, {}, None)
    assert claimed(queue) == []
    assert queue.database.add_turn(USER, run.task.id, NewTurn("More")).begins
    [again] = claimed(queue)
    assert (again.task.id, again.attempt) == (run.task.id, 1)
    queue.database.engine_later(again.id, 0)
    queue.database.take_back_turn(USER, run.task.id, 2)
    assert queue.states(run.task.id) == ["completed", "cancelled"]


def test_tasks_of_the_scheme_without_the_engine_are_taken_over(queue: EngineProject) -> None:
    queue.database.use_engine(None)
    gone, alive = queue.worker("gone"), queue.worker("alive")
    alive.record_heartbeat()
    tasks = {}
    for server in (gone, alive):
        [tasks[server.server]] = queue.add(user_id=STRANGER)
        queue.rows.execute("UPDATE tasks SET server = %s WHERE server <> 'gone'", (server.server,))
        assert server.claim_task(tasks[server.server]) is not None
    [waiting] = queue.add()
    assert claimed(queue) == []
    queue.database.use_engine(2)
    runs = claimed(queue)
    assert sorted(numbers(runs)) == [tasks["gone"], waiting]
    assert append(alive, tasks["alive"], event(1))
    # It is a worker now.
    alive.beat_worker("1.0", 4, 0, None)
    queue.database.engine_admit()
    assert numbers(claimed(queue)) == [tasks["alive"]]
    assert not append(alive, tasks["alive"], event(2))


def test_a_database_that_stops_using_the_engine_gives_its_tasks_back(
    queue: EngineProject,
) -> None:
    queue.add(3)
    run = claimed(queue, places=1)[0]
    queue.start(run)
    queue.database.use_engine(None)
    assert extend(queue, run).lost == [run.id]
    assert claimed(queue, "two") == []
    queue.add()
    assert queue.admitted() == []
    server = queue.worker("server")
    server.record_heartbeat()
    assert [task.id for task in server.claim_unfinished_tasks(own=True)] == [1, 2, 3, 4]


def test_workers_describe_themselves(queue: EngineProject) -> None:
    one, two = queue.worker("one"), queue.worker("two")
    one.beat_worker("1.0", 4, 1, None)
    two.beat_worker("1.1", 8, 8, "No place is free.")
    one.beat_worker("1.0", 4, 2, None)
    before = datetime.now(UTC)
    found = queue.database.list_workers(ANY_SILENCE)
    assert [(one.name, one.version, one.places, one.running) for one in found] == [
        ("one", "1.0", 4, 2),
        ("two", "1.1", 8, 8),
    ]
    assert found[1].waiting_reason == "No place is free."
    assert found[0].started_at < found[0].seen_at <= before
    two.remove_worker()
    assert [one.name for one in queue.database.list_workers(ANY_SILENCE)] == ["one"]
    assert queue.database.list_workers(NO_SILENCE) == []
    queue.rows.execute("UPDATE workers SET seen_at = %s", (LONG_AGO,))
    two.beat_worker("1.1", 8, 8, None)
    assert [one.name for one in queue.database.list_workers(ANY_SILENCE)] == ["two"]


def test_workers_are_seen_by_the_clock_of_the_database(queue: EngineProject) -> None:
    with time_machine.travel(datetime.now(UTC) - timedelta(seconds=90)):
        queue.worker("behind").beat_worker("1.0", 4, 0, None)
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=90)):
        found = queue.database.list_workers(timedelta(seconds=60))
        others = queue.worker("own").leave_engine(timedelta(seconds=60))
    assert [one.name for one in found] == others == ["behind"]


def test_a_drained_worker_is_given_nothing_more_and_runs_what_it_has(queue: EngineProject) -> None:
    one = queue.worker("one")
    one.beat_worker("1.0", 4, 0, None)
    queue.add(2)
    [run] = one.engine_claim(LEASE_SECONDS, 1)
    assert queue.database.drain_worker("one", True)
    assert one.engine_claim(LEASE_SECONDS, 4) == []
    # It has not told yet that it runs one.
    assert [row.running for row in queue.database.list_workers(ANY_SILENCE)] == [1]
    assert not one.engine_beat([run.id], LEASE_SECONDS).lost
    assert queue.database.drain_worker("one", False)
    assert len(one.engine_claim(LEASE_SECONDS, 4)) == 1


def test_leases_of_other_workers_that_are_over_are_counted(queue: EngineProject) -> None:
    queue.add(1)
    one, two = queue.worker("one"), queue.worker("two")
    [run] = one.engine_claim(LEASE_SECONDS, 1)
    assert two.engine_expired() == 0
    queue.pass_time(3 * LEASE_SECONDS)
    assert (one.engine_expired(), two.engine_expired()) == (0, 1)
    one.engine_beat([run.id], LEASE_SECONDS)
    assert two.engine_expired() == 0


def test_a_drained_worker_is_told_at_its_beats_and_has_no_places(queue: EngineProject) -> None:
    one, two = queue.worker("one"), queue.worker("two")
    assert not queue.database.drain_worker("one", True)
    assert not one.beat_worker("1.0", 1, 0, None)
    two.beat_worker("1.0", 4, 0, None)
    assert queue.database.drain_worker("two", True)
    assert two.beat_worker("1.0", 4, 0, None)
    assert not one.beat_worker("1.0", 1, 0, None)
    found = queue.database.list_workers(ANY_SILENCE)
    assert [(row.name, row.is_draining) for row in found] == [("one", False), ("two", True)]
    # With the place of one worker, a user has two tasks admitted.
    queue.add(4)
    assert len(queue.admitted()) == 2
    assert queue.database.drain_worker("two", False)
    assert not two.beat_worker("1.0", 4, 0, None)


def test_ended_tasks_leave_the_engine_after_a_time(queue: EngineProject) -> None:
    run = one_run(queue)
    queue.worker(run.id).finish_task(run.task.id, COMPLETED, {}, None)
    queue.pass_time(31 * 24 * 3600)
    queue.database.engine_admit()
    assert queue.states(run.task.id) == ["completed"]
    queue.rows.execute("UPDATE engine_limits SET cleaned_at = %s", (LONG_AGO,))
    queue.database.engine_admit()
    assert queue.states(run.task.id) == []


def test_a_database_without_the_engine_says_how_to_install_it(queue: EngineProject) -> None:
    queue.database.use_engine(None)
    queue.rows.execute("ALTER SCHEMA absurd RENAME TO hidden")
    try:
        with pytest.raises(ConfigurationError, match="migrate --engine"):
            queue.database.use_engine(2)
        # Also where an earlier database had it, as after a restore without its schema.
        queue.rows.execute("INSERT INTO engine_limits (queue, per_user) VALUES ('tasks', 2)")
        assert claimed(queue) == []
        assert queue.database.engine_beat(["gone"], LEASE_SECONDS).lost == ["gone"]
        assert queue.database.engine_admit() == 0
    finally:
        queue.rows.execute("ALTER SCHEMA hidden RENAME TO absurd")
