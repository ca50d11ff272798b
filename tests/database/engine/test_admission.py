"""Admission: how many tasks of each user the engine has, and in which order it gives them out."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.database.engine_projects import LEASE_SECONDS, EngineProject, numbers
from tests.support.database.samples import (
    CANCELLED,
    COMPLETED,
    PENDING,
    STRANGER,
    USER,
    all_at_once,
    new_task,
)
from utils.models.engine import EngineRun
from utils.models.turns import NewTurn


def claimed(queue: EngineProject, places: int = 5) -> list[EngineRun]:
    return queue.worker("one").engine_claim(LEASE_SECONDS, places)


def finish(queue: EngineProject, run: EngineRun) -> None:
    queue.start(run)
    assert queue.worker(run.id).finish_task(run.task.id, COMPLETED, {}, None) is not None


def test_a_user_has_at_most_the_limit_at_once(queue: EngineProject) -> None:
    tasks = queue.add(5)
    assert queue.admitted() == tasks[:2]
    runs = claimed(queue)
    assert numbers(runs) == tasks[:2]
    assert claimed(queue) == []
    finish(queue, runs[0])
    assert queue.admitted() == tasks[1:3]
    assert numbers(claimed(queue)) == [tasks[2]]


def test_the_place_of_a_cancelled_task_goes_to_the_next(queue: EngineProject) -> None:
    first, second, third = queue.add(3)
    assert queue.database.move_task(first, {PENDING}, CANCELLED) is not None
    assert queue.admitted() == [second, third]
    assert numbers(claimed(queue)) == [second, third]


def test_tasks_of_a_group_are_admitted_like_others(queue: EngineProject) -> None:
    group = queue.database.create_task_group(USER, [new_task()] * 4)
    assert queue.admitted() == [task.id for task in group[:2]]


def test_the_tasks_of_a_user_are_given_out_in_the_order_of_their_ranks(
    queue: EngineProject,
) -> None:
    [ended] = queue.add()
    assert queue.database.move_task(ended, {PENDING}, CANCELLED) is not None
    [begun] = queue.add()
    run: EngineRun | None
    [run] = claimed(queue, 1)
    first, second = queue.add(2)
    low, high = (
        queue.database.create_task(USER, new_task(priority=priority)).id for priority in (-5, 5)
    )
    queue.database.add_turn(USER, ended, NewTurn("More"))
    given = []
    while run:
        finish(queue, run)
        runs = claimed(queue, 1)
        given += numbers(runs)
        run = runs[0] if runs else None
    assert given == [ended, high, first, second, low]
    assert begun not in given


def test_no_rank_takes_a_task_from_a_worker_or_a_place_from_another_user(
    queue: EngineProject,
) -> None:
    begun, waiting = queue.add(2)
    [run] = claimed(queue, 1)
    [theirs] = queue.add(user_id=STRANGER)
    high, higher = (
        queue.database.create_task(USER, new_task(priority=priority)).id for priority in (5, 6)
    )
    assert queue.admitted() == [begun, higher]
    assert numbers(claimed(queue)) == [theirs, higher]
    assert {run.task.id, *queue.admitted(STRANGER)} == {begun, theirs}
    assert queue.database.get_task_status(USER, waiting).status is PENDING
    assert queue.database.get_task_status(USER, high).status is PENDING


def test_another_user_waits_for_nobody(queue: EngineProject) -> None:
    own = queue.add(4)
    [other] = queue.add(user_id=STRANGER)
    assert numbers(claimed(queue)) == [*own[:2], other]


def test_a_newcomer_waits_for_two_rounds_of_the_workers_at_most(queue: EngineProject) -> None:
    queue.database.use_engine(8)
    queue.worker("one").beat_worker("1.0", 3, 0, None)
    queue.worker("two").beat_worker("1.0", 1, 0, None)
    tasks = queue.add(12)
    # One user alone may fill the workers twice.
    assert queue.admitted() == tasks[:8]
    others = queue.add(6, STRANGER)
    assert queue.admitted(STRANGER) == others[:4]
    # The first is not admitted more until it is below its share.
    runs = claimed(queue, 4)
    assert numbers(runs) == tasks[:4]
    for run in runs:
        finish(queue, run)
    assert queue.admitted() == tasks[4:8]
    for run in claimed(queue, 1):
        finish(queue, run)
    assert queue.admitted() == tasks[5:9]
    assert queue.admitted(STRANGER) == others[:4]


def test_a_newcomer_waits_no_longer_when_all_workers_were_away(queue: EngineProject) -> None:
    queue.database.use_engine(8)
    users = [f"00000000-0000-4000-8000-0000000002{number:02}" for number in range(5)]
    for user_id in users:
        queue.database.ensure_user(user_id)
        queue.add(8, user_id)
    worker = queue.worker("one")
    # As a worker does that starts.
    worker.use_engine(8)
    worker.beat_worker("1.0", 4, 0, None)
    worker.engine_admit()
    assert [len(queue.admitted(user_id)) for user_id in users] == [1] * 5
    [newcomer] = queue.add(1, STRANGER)
    first, second = (numbers(worker.engine_claim(LEASE_SECONDS, 4)) for _ in range(2))
    assert newcomer not in first
    assert newcomer in second


def test_a_lower_limit_holds_for_what_no_worker_has_yet(queue: EngineProject) -> None:
    queue.database.use_engine(5)
    tasks = queue.add(8)
    [run, *_] = claimed(queue, 2)
    queue.database.use_engine(3)
    assert queue.admitted() == tasks[:3]
    assert queue.states(tasks[4]) == ["cancelled"]
    finish(queue, run)
    assert queue.admitted() == tasks[1:4]


def test_with_more_users_than_places_each_has_one(queue: EngineProject) -> None:
    queue.worker("one").beat_worker("1.0", 1, 0, None)
    users = [f"00000000-0000-4000-8000-0000000001{number:02}" for number in range(5)]
    for user_id in users:
        queue.database.ensure_user(user_id)
        queue.add(2, user_id)
    assert [len(queue.admitted(user_id)) for user_id in users] == [2, 1, 1, 1, 1]


def test_places_that_would_stay_free_are_given_to_who_waits(queue: EngineProject) -> None:
    queue.database.use_engine(8)
    queue.worker("one").beat_worker("1.0", 4, 0, None)
    others = queue.add(4, STRANGER)
    tasks = queue.add(8)
    assert queue.admitted() == tasks[:4]
    for number in others:
        queue.database.move_task(number, {PENDING}, CANCELLED)
    # Nothing of this user has ended, so nothing has told that its share is larger now.
    assert queue.admitted() == tasks[:4]
    assert numbers(claimed(queue, 8)) == tasks


def test_a_worker_without_free_places_claims_nothing(queue: EngineProject) -> None:
    queue.add()
    assert claimed(queue, 0) == []
    assert len(claimed(queue, 1)) == 1


def test_the_limit_holds_when_all_write_at_once(queue: EngineProject) -> None:
    queue.database.use_engine(3)
    seen: list[int] = []

    def work(number: int) -> Callable[[], None]:
        def run() -> None:
            worker = queue.worker(f"worker {number}")
            for round_number in range(6):
                queue.add(2)
                for claim in worker.engine_claim(LEASE_SECONDS, 2):
                    seen.append(claim.task.id)
                    fenced = queue.worker(claim.id)
                    assert fenced.claim_task(claim.task.id, again=True) is not None
                    if round_number % 3 == 2:
                        assert worker.engine_later(claim.id, 0)
                        continue
                    ended = fenced.finish_task(claim.task.id, COMPLETED, {}, None)
                    assert ended is not None
                counted.append(len(set(worker_admitted())))

        return run

    def worker_admitted() -> list[int]:
        with queue.lock:
            return queue.admitted()

    counted: list[int] = []
    all_at_once([work(number) for number in range(4)])
    assert max(counted) <= 3
    while runs := claimed(queue, 3):
        for run in runs:
            seen.append(run.task.id)
            finish(queue, run)
    assert set(seen) == set(range(1, 49))
    states = queue.database.count_tasks()
    assert states == {(COMPLETED, "claude"): 48}


def test_whoever_admits_at_once_admits_each_task_once(queue: EngineProject) -> None:
    queue.database.use_engine(None)
    tasks = queue.add(6)
    queue.database.use_engine(1)
    assert queue.admitted() == tasks[:1]
    queue.rows.execute("UPDATE engine_limits SET per_user = 4")
    admitted = all_at_once([queue.database.engine_admit] * 2 + [lambda: admit_user(queue)] * 2)
    assert sum(admitted) == 3
    assert queue.admitted() == tasks[:4]
    assert [queue.states(number) for number in tasks[:4]] == [["pending"]] * 4


def admit_user(queue: EngineProject) -> int:
    return queue.database.engine_admit(USER)
