"""The limit of sandboxes over all workers of a database."""

from __future__ import annotations

from functools import partial

from tests.support.database.engine_projects import LEASE_SECONDS, EngineProject, numbers
from tests.support.database.samples import COMPLETED, LATER, RUNNING, STRANGER, USER, all_at_once
from utils.models.engine import EngineRun
from utils.models.sandboxes import NewSandbox, SandboxStatus


def claimed(queue: EngineProject, worker: str = "one", places: int = 5) -> list[EngineRun]:
    return queue.worker(worker).engine_claim(LEASE_SECONDS, places)


def limited(queue: EngineProject, most: int) -> EngineProject:
    queue.database.use_engine(20)
    queue.database.limit_sandboxes(most)
    return queue


def test_no_task_starts_while_as_many_sandboxes_run_as_the_limit_allows(
    queue: EngineProject,
) -> None:
    limited(queue, 3)
    first, second, third, fourth = queue.add(4)
    runs = claimed(queue, "one", 2) + claimed(queue, "two")
    assert numbers(runs) == [first, second, third]
    assert queue.database.count_sandboxes() == 3
    assert claimed(queue) == claimed(queue, "two") == []
    queue.start(runs[1])
    assert queue.worker(runs[1].id).finish_task(second, COMPLETED, {}, None) is not None
    assert numbers(claimed(queue, "two")) == [fourth]
    queue.database.limit_sandboxes(None)
    [fifth] = queue.add()
    assert numbers(claimed(queue)) == [fifth]


def test_users_take_turns_at_the_limit(queue: EngineProject) -> None:
    limited(queue, 1)
    own, theirs = queue.add(2), queue.add(2, STRANGER)
    given = []
    for _ in range(4):
        [run] = claimed(queue)
        queue.start(run)
        assert queue.worker(run.id).finish_task(run.task.id, COMPLETED, {}, None) is not None
        given.append(run.task.id)
    assert given == [*own, *theirs]


def test_sandboxes_that_users_have_open_count(queue: EngineProject) -> None:
    limited(queue, 1)
    database = queue.database
    opened = database.add_sandbox(USER, NewSandbox("e2b", LATER), 5)
    queue.add()
    assert claimed(queue) == []
    running = {"provider_id": "box"}
    assert database.move_sandbox(opened.id, {SandboxStatus.CREATED}, SandboxStatus.RUNNING, running)
    assert claimed(queue) == []
    assert database.move_sandbox(opened.id, {SandboxStatus.RUNNING}, SandboxStatus.PAUSED)
    assert len(claimed(queue)) == 1


def test_a_task_that_a_dead_worker_has_left_goes_on_at_the_limit_before_new_ones(
    queue: EngineProject,
) -> None:
    limited(queue, 2)
    begun, taken, waiting = queue.add(3)
    runs = claimed(queue, "one")
    assert numbers(runs) == [begun, taken]
    queue.start(runs[0])
    queue.pass_time(LEASE_SECONDS + 1)
    [again, *others] = claimed(queue, "two", 3)
    assert (again.task.id, again.task.status) == (begun, RUNNING)
    # One that had not begun has no sandbox, and waits behind the others.
    assert numbers(others) == [waiting]
    assert queue.database.engine_beat([runs[0].id], LEASE_SECONDS).lost == [runs[0].id]
    assert queue.worker(again.id).engine_later(again.id, 0)
    # One that was given back holds its sandbox as well.
    assert queue.database.count_sandboxes() == 2
    assert numbers(claimed(queue, "three")) == [begun]
    assert claimed(queue, "three") == []
    assert taken in queue.admitted()


def test_workers_that_claim_at_once_do_not_pass_the_limit(queue: EngineProject) -> None:
    limited(queue, 7)
    added = queue.add(20)
    names = ("one", "two", "three", "four")
    runs = all_at_once([partial(claimed, queue, name) for name in names])
    assert sorted(number for some in runs for number in numbers(some)) == added[:7]
