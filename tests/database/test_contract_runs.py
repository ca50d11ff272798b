"""The contract of every database for runs, which another process can resume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from database import Database
from tests.support.database.samples import (
    CANCELLED,
    COMPLETED,
    FAILED,
    LATER,
    NOBODY,
    PENDING,
    RUNNING,
    STRANGER,
    USER,
    all_at_once,
    append,
    event,
    new_task,
    project_fields,
    running_task,
)
from utils.errors import NotFound
from utils.models.events import NO_EVENTS, EventBatch
from utils.models.runs import AgentRun, ClaimedTask
from utils.models.tasks import TaskStatus


def run_of(task_id: int, sandbox_id: str = "sandbox-1") -> AgentRun:
    return AgentRun(
        task_id=task_id,
        sandbox_id=sandbox_id,
        base_commit="c0ffee" * 6 + "beef",
        agent_started_at=LATER,
        stage_seconds={"cloning": 0.25},
        position={"stage": "agent"},
    )


def texts(database: Database, task_id: int) -> list[str]:
    return [stored.data["text"] for stored in database.list_events(USER, task_id)]


def test_a_run_is_stored_with_its_events_and_found_again(database: Database) -> None:
    task, other = running_task(database), running_task(database)
    assert database.get_run(task.id) is None
    assert database.start_run(run_of(task.id), EventBatch((event(1), event(2))))
    assert database.get_run(task.id) == run_of(task.id)
    assert texts(database, task.id) == ["Line 1", "Line 2"]
    assert database.get_run(other.id) is None
    assert database.get_task_status(USER, task.id) == task


def test_a_run_without_events_is_stored_too(database: Database) -> None:
    task = running_task(database)
    assert database.start_run(run_of(task.id), NO_EVENTS)
    assert database.get_run(task.id) == run_of(task.id)
    assert database.list_events(USER, task.id) == []


def test_a_second_run_of_a_task_replaces_the_first(database: Database) -> None:
    task = running_task(database)
    database.start_run(run_of(task.id, "lost"), EventBatch((event(1),)))
    assert database.start_run(run_of(task.id, "new"), EventBatch((event(2),)))
    assert database.get_run(task.id) == run_of(task.id, "new")
    assert database.list_run_sandboxes() == ["new"]
    assert texts(database, task.id) == ["Line 1", "Line 2"]


@pytest.mark.parametrize("status", [PENDING, COMPLETED, FAILED, CANCELLED])
def test_a_task_that_does_not_run_starts_no_agent(database: Database, status: TaskStatus) -> None:
    task = running_task(database)
    database.move_task(task.id, {RUNNING}, status)
    before = database.list_events(USER, task.id)
    assert not database.start_run(run_of(task.id), EventBatch((event(1),)))
    assert database.get_run(task.id) is None
    assert database.list_events(USER, task.id) == before
    assert not database.start_run(run_of(12345), EventBatch((event(1),)))


def test_of_a_start_and_a_cancel_at_once_only_one_is_there_afterwards(database: Database) -> None:
    for _ in range(10):
        task = running_task(database)
        works: list[Callable[[], object]] = [
            partial(database.start_run, run_of(task.id), EventBatch((event(1),))),
            partial(database.move_task, task.id, {RUNNING}, CANCELLED),
        ]
        all_at_once(works)
        assert database.get_task_status(USER, task.id).status is CANCELLED
        assert database.get_run(task.id) is None


@pytest.mark.parametrize("status", [PENDING, COMPLETED, FAILED, CANCELLED])
def test_a_run_is_forgotten_when_its_task_moves_on(database: Database, status: TaskStatus) -> None:
    task, other = running_task(database), running_task(database)
    database.start_run(run_of(task.id, "one"), NO_EVENTS)
    database.start_run(run_of(other.id, "two"), NO_EVENTS)
    assert database.move_task(task.id, {PENDING}, CANCELLED) is None
    assert database.get_run(task.id) is not None
    database.move_task(task.id, {RUNNING}, status)
    assert database.get_run(task.id) is None
    assert database.list_run_sandboxes() == ["two"]


def test_a_finished_task_has_no_run_any_more(database: Database) -> None:
    task = running_task(database)
    database.start_run(run_of(task.id), NO_EVENTS)
    assert database.finish_task(task.id, COMPLETED, {}, None) is not None
    assert database.get_run(task.id) is None


def test_the_run_of_a_deleted_task_is_gone(database: Database) -> None:
    project = database.create_project(USER, project_fields())
    task = running_task(database, project_id=project.id)
    database.start_run(run_of(task.id), NO_EVENTS)
    database.delete_project(USER, project.id)
    assert database.get_run(task.id) is None
    assert database.list_run_sandboxes() == []


def test_the_sandboxes_of_all_users_are_listed(database: Database) -> None:
    assert database.list_run_sandboxes() == []
    ids = []
    for number, user_id in enumerate((USER, STRANGER, USER)):
        task = database.create_task(user_id, new_task())
        database.move_task(task.id, {PENDING}, RUNNING)
        database.start_run(run_of(task.id, f"sandbox-{number}"), NO_EVENTS)
        ids.append(f"sandbox-{number}")
    assert sorted(database.list_run_sandboxes()) == ids


def test_a_position_is_stored_with_the_events_it_is_about(database: Database) -> None:
    task, other = running_task(database), running_task(database)
    for one in (task, other):
        database.start_run(run_of(one.id), EventBatch((event(1),)))
    position = {"stdout": 2, "stderr": 1, "bytes_left": 10, "stage": "agent", "ö": "☃"}
    append(database, task.id, event(2), position=position)
    assert database.get_run(task.id) == replace(run_of(task.id), position=position)
    assert database.get_run(other.id) == run_of(other.id)
    assert texts(database, task.id) == ["Line 1", "Line 2"]


def test_resumes_are_counted_until_the_run_gets_further(database: Database) -> None:
    task, other = running_task(database), running_task(database)
    for one in (task, other):
        database.start_run(run_of(one.id), NO_EVENTS)
    for _ in range(3):
        database.record_resume(task.id)
    append(database, task.id, event(1))
    assert database.get_run(task.id) == replace(run_of(task.id), resumes=3)
    assert database.get_run(other.id) == run_of(other.id)
    append(database, task.id, event(2), position={"stdout": 1})
    assert database.get_run(task.id) == replace(run_of(task.id), position={"stdout": 1})
    database.record_resume(12345)


def test_the_position_moves_only_when_one_is_given(database: Database) -> None:
    task = running_task(database)
    database.start_run(run_of(task.id), NO_EVENTS)
    append(database, task.id, event(1), position={"stdout": 1})
    append(database, task.id, event(2))
    run = database.get_run(task.id)
    assert run is not None
    assert run.position == {"stdout": 1}


def test_a_position_without_a_run_is_dropped(database: Database) -> None:
    task = running_task(database)
    append(database, task.id, event(1), position={"stdout": 1})
    append(database, 12345, event(1), position={"stdout": 1})
    assert database.get_run(task.id) is None
    assert texts(database, task.id) == ["Line 1"]


def test_a_task_is_finished_together_with_its_last_events(database: Database) -> None:
    task = running_task(database)
    append(database, task.id, event(1))
    assert (
        database.finish_task(task.id, FAILED, {}, None, (), EventBatch((event(2), event(3))))
        is not None
    )
    stored = database.list_events(USER, task.id)
    assert [(one.sequence, one.data["text"]) for one in stored] == [
        (1, "Line 1"),
        (2, "Line 2"),
        (3, "Line 3"),
    ]


def test_the_events_of_a_late_result_are_dropped_with_it(database: Database) -> None:
    task = running_task(database)
    database.move_task(task.id, {RUNNING}, CANCELLED)
    before = database.list_events(USER, task.id)
    assert database.finish_task(task.id, COMPLETED, {}, None, (), EventBatch((event(1),))) is None
    assert database.finish_task(12345, COMPLETED, {}, None, (), EventBatch((event(1),))) is None
    assert database.list_events(USER, task.id) == before


def test_of_two_results_at_once_only_one_is_stored_with_its_events(database: Database) -> None:
    task = running_task(database)
    finish = partial(
        database.finish_task, task.id, COMPLETED, {}, None, (), EventBatch((event(1), event(2)))
    )
    results = all_at_once([finish] * 4)
    assert [result is not None for result in results].count(True) == 1
    assert texts(database, task.id) == ["Line 1", "Line 2"]


def claimed(database: Database, **changes: Any) -> ClaimedTask:
    task = database.claim_task(database.create_task(USER, new_task(**changes)).id)
    assert task is not None
    return task


def test_a_claim_tells_everything_that_is_needed_to_do_the_task(database: Database) -> None:
    project = database.create_project(USER, project_fields())
    preferences = {"claudeCode": {"env": {"NAME": "värde"}, "credentials": None}, "n": [1]}
    database.update_profile(USER, {"preferences": preferences, "github_token": "sealed too"})
    full = claimed(database, project_id=project.id, encrypted_token=b"\x00sealed")
    assert full.task == database.get_task_status(USER, full.task.id)
    assert (full.task.status, full.task.stage, full.task.attempt) == (RUNNING, "cloning", 1)
    assert (full.ciphertext, full.user_token) == (b"\x00sealed", "sealed too")
    assert (full.preferences, full.project_settings) == (preferences, {"colour": "blue"})
    assert full.last_sequence == 0
    assert "sealed" not in repr(full)
    assert "värde" not in repr(full)
    bare = database.claim_task(database.create_task(STRANGER, new_task()).id)
    assert bare is not None
    assert (bare.ciphertext, bare.user_token) == (None, None)
    assert (bare.preferences, bare.project_settings) == ({}, {})


def test_a_push_is_told_to_the_tasks_of_all_projects_of_its_repository(database: Database) -> None:
    own, other = project_fields(), project_fields("another")
    spelled = {**own, "repo_url": "https://GitHub.com/Octo/Demo.git/"}
    projects = [
        (USER, database.create_project(USER, own)),
        (STRANGER, database.create_project(STRANGER, spelled)),
        (USER, database.create_project(USER, other)),
    ]
    addresses = ("https://github.com/octo/demo", "https://github.com/octo/demo.git")
    for commit in ("a" * 40, "b" * 40):
        assert database.record_push(addresses, commit) == 2
        tasks = [database.create_task(user, new_task(project_id=one.id)) for user, one in projects]
        claims = [database.claim_task(task.id) for task in tasks]
        assert [claim and claim.pushed_commit for claim in claims] == [commit, commit, None]
    assert database.record_push(["https://github.com/octo/neither"], "c" * 40) == 0


def test_a_task_is_claimed_again_only_by_whoever_says_so(database: Database) -> None:
    first = claimed(database)
    append(database, first.task.id, event(1), event(2))
    assert database.claim_task(first.task.id) is None
    again = database.claim_task(first.task.id, again=True)
    assert again is not None
    assert (again.task.attempt, again.last_sequence) == (1, 2)
    database.move_task(first.task.id, {RUNNING}, COMPLETED)
    assert database.claim_task(first.task.id, again=True) is None
    assert database.claim_task(12345, again=True) is None


def test_a_batch_may_be_written_again_with_more_at_its_end(database: Database) -> None:
    task = running_task(database)
    assert append(database, task.id, event(1))
    for batch in ((event(2),), (event(2), event(3)), (event(2), event(3))):
        assert database.save_progress(task.id, EventBatch(batch, after=1))
    assert database.start_run(run_of(task.id), EventBatch((event(3), event(4)), after=2))
    last = EventBatch((event(4), event(5)), after=3)
    assert database.finish_task(task.id, COMPLETED, {}, None, (), last) is not None
    assert texts(database, task.id) == [f"Line {number}" for number in range(1, 6)]


@pytest.mark.parametrize("value", [None, [], ["a"], "text", 1])
def test_preferences_of_another_shape_are_none(database: Database, value: object) -> None:
    database.update_profile(USER, {"preferences": value})
    assert database.get_profile(USER).preferences == {}
    assert claimed(database).preferences == {}


def test_a_profile_is_changed_where_it_is_told(database: Database) -> None:
    before = database.get_profile(USER)
    assert (before.email, before.full_name, before.github_token) == ("user@example.com", None, None)
    changed = database.update_profile(USER, {"full_name": "Ö", "github_token": "sealed"})
    assert changed == database.get_profile(USER)
    assert (changed.full_name, changed.github_token, changed.email) == (
        "Ö",
        "sealed",
        "user@example.com",
    )
    assert changed.updated_at > before.updated_at
    assert database.get_profile(STRANGER).full_name is None
    with pytest.raises(NotFound):
        database.get_profile(NOBODY)
    with pytest.raises(NotFound):
        database.update_profile(NOBODY, {"full_name": "x"})
