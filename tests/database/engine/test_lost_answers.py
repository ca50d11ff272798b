"""Calls whose answers are lost on the way from a Supabase project: each may have had its effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from database import Database
from tests.fixtures.engine import prepared
from tests.support.database.engine_projects import LEASE_SECONDS, EngineProject, numbers
from tests.support.database.samples import ANY_SILENCE, COMPLETED, USER, new_task
from tests.support.supabase.faulty_proxy import FaultyProxy
from tests.support.supabase.settings import supabase_settings
from tests.support.supabase.stack import SupabaseStack
from utils.database.supabase.database import SupabaseDatabase, open_supabase_database
from utils.errors import DatabaseUnavailable
from utils.models.engine import EngineBeat, EngineRun


@pytest.fixture
def queue(supabase_engine: EngineProject) -> EngineProject:
    return prepared(supabase_engine)


@pytest.fixture
def proxy(engine_stack: SupabaseStack) -> Iterator[FaultyProxy]:
    with FaultyProxy(engine_stack.url) as proxy:
        yield proxy


@pytest.fixture
def cut_off(
    proxy: FaultyProxy, engine_stack: SupabaseStack, tmp_path: Path
) -> Iterator[SupabaseDatabase]:
    """Provide a worker behind a proxy that loses answers."""
    settings = supabase_settings(engine_stack, tmp_path, supabase_url=proxy.url)
    database = open_supabase_database(settings)
    yield database
    database.close()


def losing(proxy: FaultyProxy, function: str, call: Callable[[], object]) -> None:
    """Make a call whose answer is lost, and which is not repeated by itself."""
    proxy.lost[f"/rest/v1/rpc/{function}"] = 1
    with pytest.raises(DatabaseUnavailable):
        call()
    assert proxy.lost.total() == 0


def repeated(proxy: FaultyProxy, function: str) -> None:
    """Lose the answer to the next call, which the client repeats by itself."""
    proxy.lost[f"/rest/v1/rpc/{function}"] = 1


def claimed(database: Database, places: int = 5) -> list[EngineRun]:
    return database.engine_claim(LEASE_SECONDS, places)


def test_runs_of_a_claim_without_an_answer_are_given_back(
    queue: EngineProject, proxy: FaultyProxy, cut_off: SupabaseDatabase
) -> None:
    queue.database.use_engine(3)
    first, second, third = queue.add(3)
    [kept] = claimed(cut_off, 1)
    losing(proxy, "engine_claim", lambda: claimed(cut_off, 1))
    assert numbers(claimed(queue.worker("two"))) == [third]
    assert cut_off.engine_release([kept.id]) == 1
    [again] = claimed(cut_off)
    assert (again.task.id, again.attempt) == (second, 1)
    assert kept.task.id == first
    assert cut_off.engine_beat([kept.id, again.id], LEASE_SECONDS) == EngineBeat()


def test_runs_of_a_claim_without_an_answer_end_with_their_lease(
    queue: EngineProject, proxy: FaultyProxy, cut_off: SupabaseDatabase
) -> None:
    queue.add()
    losing(proxy, "engine_claim", lambda: claimed(cut_off))
    other = queue.worker("two")
    assert claimed(other) == []
    queue.pass_time(LEASE_SECONDS + 1)
    [run] = claimed(other) + claimed(other)
    assert run.attempt == 2


def test_a_beat_is_repeated(
    queue: EngineProject, proxy: FaultyProxy, cut_off: SupabaseDatabase
) -> None:
    queue.add(2)
    first, second = claimed(cut_off)
    queue.start(first)
    cut_off.request_stop(USER, first.task.id)
    repeated(proxy, "engine_beat")
    answer = cut_off.engine_beat([first.id, second.id], LEASE_SECONDS)
    assert answer == EngineBeat(cancelled=[first.id])


def test_what_was_put_off_stays_put_off_once(
    queue: EngineProject, proxy: FaultyProxy, cut_off: SupabaseDatabase
) -> None:
    [number] = queue.add()
    [run] = claimed(cut_off)
    losing(proxy, "engine_later", lambda: cut_off.engine_later(run.id, 0))
    assert not cut_off.engine_later(run.id, 0)
    [again] = claimed(queue.worker("two"))
    assert (again.task.id, again.attempt) == (number, 1)
    assert not cut_off.engine_later(run.id, 0)
    assert queue.database.engine_beat([again.id], LEASE_SECONDS) == EngineBeat()


def test_what_is_done_is_done_once(
    queue: EngineProject, proxy: FaultyProxy, cut_off: SupabaseDatabase
) -> None:
    [number] = queue.add()
    [run] = claimed(cut_off)
    losing(proxy, "engine_done", lambda: cut_off.engine_done(run.id))
    assert not cut_off.engine_done(run.id)
    assert queue.states(number) == ["completed", "pending"]


def test_a_result_without_an_answer_has_ended_its_run(
    queue: EngineProject, proxy: FaultyProxy, cut_off: SupabaseDatabase
) -> None:
    [number] = queue.add()
    [run] = claimed(cut_off)
    queue.start(run)
    cut_off.server = run.id
    finish = "backend_move_task"
    losing(proxy, finish, lambda: cut_off.finish_task(number, COMPLETED, {}, None))
    assert queue.states(number) == ["completed"]
    assert cut_off.engine_beat([run.id], LEASE_SECONDS).lost == [run.id]
    assert cut_off.get_task(USER, number).status == COMPLETED


def test_the_rest_is_repeated_without_another_effect(
    queue: EngineProject, proxy: FaultyProxy, cut_off: SupabaseDatabase
) -> None:
    tasks = queue.add(3)
    assert len(claimed(cut_off)) == 2
    for function in ("engine_use", "engine_admit", "engine_release", "backend_beat_worker"):
        repeated(proxy, function)
    cut_off.use_engine(2)
    assert cut_off.engine_admit() == 0
    assert cut_off.engine_release() == 0
    cut_off.beat_worker("1.0", 4, 0, None)
    assert proxy.lost.total() == 0
    assert queue.admitted() == tasks[:2]
    assert numbers(claimed(queue.worker("two"))) == tasks[:2]
    assert len(cut_off.list_workers(ANY_SILENCE)) == 1


def test_a_task_whose_creation_got_no_answer_is_admitted_once(
    queue: EngineProject, proxy: FaultyProxy, cut_off: SupabaseDatabase
) -> None:
    create = "backend_create_task"
    losing(proxy, create, lambda: cut_off.create_task(USER, new_task()))
    assert queue.admitted() == [1]
    assert queue.states(1) == ["pending"]
