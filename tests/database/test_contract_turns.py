"""The contract of every database for the turns of tasks and for kept workspaces."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from database import Database
from tests.support.database.samples import (
    CANCELLED,
    COMPLETED,
    FAILED,
    LATER,
    PENDING,
    RUNNING,
    STRANGER,
    USER,
    all_at_once,
    legacy_row,
    new_task,
    running_task,
)
from utils.database.verbs.turns import Workspace
from utils.errors import Conflict, NotFound
from utils.models.events import NO_EVENTS
from utils.models.tasks import Mode, Task, TaskStatus
from utils.models.turns import NewTurn, Turn, TurnResult, TurnStatus, first_turn

MORE = NewTurn("Also add a test")
WAITING, RUNS = TurnStatus.WAITING, TurnStatus.RUNNING


def finish(
    database: Database,
    task: Task,
    to: TaskStatus = COMPLETED,
    *,
    goes_on: bool = True,
    **columns: Any,
) -> Task:
    """End the running turn of a task."""
    turns = [one for one in database.list_turns(USER, task.id) if one.status is RUNS]
    ended = replace(
        turns[0],
        status=TurnStatus(to),
        has_diff=True,
        files=2,
        tree_after="tree",
        error=columns.get("error"),
        error_code=columns.get("error_code"),
    )
    result = TurnResult(ended, f"diff {ended.number}", goes_on)
    moved = database.finish_task(task.id, to, columns, None, [], NO_EVENTS, result)
    assert moved is not None
    return moved


def statuses(database: Database, task_id: int) -> list[str]:
    return [str(turn.status) for turn in database.list_turns(USER, task_id)]


def claimed_turn(database: Database, task_id: int, *, again: bool = False) -> Turn | None:
    claimed = database.claim_task(task_id, again=again)
    assert claimed is not None
    return claimed.turn


def test_the_first_turn_is_that_of_the_prompt(database: Database) -> None:
    task = database.create_task(USER, new_task("Fix it", mode=Mode.PLAN))
    [first] = database.list_turns(USER, task.id)
    assert (first.number, first.prompt, first.mode) == (1, "Fix it", Mode.PLAN)
    assert (first.status, first.created_at) == (WAITING, task.created_at)
    assert claimed_turn(database, task.id) is None
    assert statuses(database, task.id) == ["running"]
    ended = finish(database, task, goes_on=False, git_diff="diff of all")
    assert ended.status is COMPLETED
    [first] = database.list_turns(USER, task.id)
    assert (first.status, first.files, first.tree_after) == ("completed", 2, "tree")
    assert first.ended_at is not None
    assert database.get_turn_diff(USER, task.id, 1) == "diff 1"


def test_a_message_after_the_end_makes_the_task_wait_again(database: Database) -> None:
    task = running_task(database)
    finish(database, task, FAILED, error="It broke", error_code="agent_failed")
    added = database.add_turn(USER, task.id, replace(MORE, encrypted_token=b"sealed"))
    assert added.begins
    assert added.turn.number == 2
    assert added.turn.status is WAITING
    assert (added.task.status, added.task.attempt, added.task.error) == (PENDING, 0, None)
    assert added.task.completed_at is None
    assert [one["content"] for one in added.task.chat_messages] == ["Fix it", "Also add a test"]
    claimed = database.claim_task(task.id)
    assert claimed is not None
    assert claimed.ciphertext == b"sealed"
    assert claimed.turn is not None
    assert (claimed.turn.number, claimed.turn.status) == (2, RUNS)
    assert claimed.task.attempt == 1
    assert claimed_turn(database, task.id, again=True) == claimed.turn
    assert finish(database, task).status is COMPLETED
    assert statuses(database, task.id) == ["failed", "completed"]
    assert database.get_turn_diff(USER, task.id, 2) == "diff 2"


def test_turns_that_wait_run_one_after_the_other(database: Database) -> None:
    task = running_task(database)
    assert not database.add_turn(USER, task.id, MORE).begins
    assert not database.add_turn(USER, task.id, replace(MORE, mode=Mode.PLAN)).begins
    assert statuses(database, task.id) == ["running", "waiting", "waiting"]
    moved = finish(database, task, FAILED, error="It broke", error_code="agent_failed")
    assert (moved.status, moved.error, moved.attempt) == (PENDING, None, 0)
    turn = claimed_turn(database, task.id)
    assert turn is not None
    assert turn.number == 2
    assert finish(database, task).status is PENDING
    turn = claimed_turn(database, task.id)
    assert turn is not None
    assert turn.mode is Mode.PLAN
    assert finish(database, task).status is COMPLETED
    assert statuses(database, task.id) == ["failed", "completed", "completed"]


def test_a_turn_that_was_interrupted_by_a_stop_of_the_server_waits_again(
    database: Database,
) -> None:
    task = database.create_task(USER, new_task())
    database.add_turn(USER, task.id, MORE)
    assert statuses(database, task.id) == ["waiting", "waiting"]
    first = claimed_turn(database, task.id)
    assert first is not None
    assert first.number == 1
    database.move_task(task.id, {RUNNING}, PENDING)
    assert statuses(database, task.id) == ["waiting", "waiting"]
    assert claimed_turn(database, task.id) is not None
    assert finish(database, task).status is PENDING


def test_a_cancelled_task_cancels_the_turns_that_wait(database: Database) -> None:
    running, queued = running_task(database), running_task(database)
    database.add_turn(USER, running.id, MORE)
    assert finish(database, running, CANCELLED, goes_on=False).status is CANCELLED
    assert statuses(database, running.id) == ["cancelled", "cancelled"]
    finish(database, queued)
    database.add_turn(USER, queued.id, MORE)
    database.move_task(queued.id, {PENDING}, CANCELLED, error="No", error_code="cancelled")
    [first, second] = database.list_turns(USER, queued.id)
    assert (first.status, first.error) == ("completed", None)
    assert (second.status, second.error) == ("cancelled", "No")


def test_a_turn_is_taken_back_while_it_waits(database: Database) -> None:
    task = running_task(database)
    finish(database, task, FAILED, error="It broke", error_code="agent_failed")
    before = database.get_task(USER, task.id)
    database.add_turn(USER, task.id, MORE)
    after = database.take_back_turn(USER, task.id, 2)
    assert (after.status, after.error, after.error_code) == (FAILED, "It broke", "agent_failed")
    assert after.completed_at is not None
    assert after.chat_messages == before.chat_messages
    assert statuses(database, task.id) == ["failed"]
    with pytest.raises(NotFound):
        database.take_back_turn(USER, task.id, 2)


def test_a_running_turn_cannot_be_taken_back(database: Database) -> None:
    task = running_task(database)
    database.add_turn(USER, task.id, MORE)
    database.add_turn(USER, task.id, replace(MORE, prompt="And this"))
    for number in (1, 2):
        if number == 2:
            finish(database, task)
            claimed_turn(database, task.id)
        with pytest.raises(Conflict) as refused:
            database.take_back_turn(USER, task.id, number)
        assert refused.value.code == "turn_started"
    assert database.take_back_turn(USER, task.id, 3).status is RUNNING
    assert finish(database, task).status is COMPLETED


def test_messages_that_come_together_get_numbers_of_their_own(database: Database) -> None:
    task = running_task(database)
    added = all_at_once([lambda: database.add_turn(USER, task.id, MORE)] * 4)
    assert sorted(one.turn.number for one in added) == [2, 3, 4, 5]


def test_an_old_task_tells_its_first_turn_from_its_result(database: Database) -> None:
    metadata = {
        "legacy_id": 1,
        "tree_hash": "c0ffee",
        "files_changed": 3,
        "additions": 4,
        "deletions": 5,
        "usage": {"input_tokens": 7, "output_tokens": 8},
        "cost_usd": 0.25,
    }
    row = legacy_row(1, execution_metadata=metadata, git_diff="old diff", completed_at=LATER)
    database.import_tasks(USER, [row])
    [summary] = database.list_tasks(USER).tasks
    listed = database.list_turns(USER, summary.id)
    assert listed == [first_turn(database.get_task(USER, summary.id)).turn]
    assert (listed[0].files, listed[0].input_tokens, listed[0].cost_usd) == (3, 7, 0.25)
    assert database.get_turn_diff(USER, summary.id, 1) == "old diff"
    database.add_turn(USER, summary.id, MORE)
    assert database.list_turns(USER, summary.id)[:1] == listed
    assert database.get_turn_diff(USER, summary.id, 1) == "old diff"
    assert database.get_turn_diff(USER, summary.id, 2) == ""


def test_turns_of_others_are_missing(database: Database) -> None:
    task = running_task(database)
    database.add_turn(USER, task.id, MORE)
    for call in (
        lambda: database.add_turn(STRANGER, task.id, MORE),
        lambda: database.take_back_turn(STRANGER, task.id, 2),
        lambda: database.list_turns(STRANGER, task.id),
        lambda: database.get_turn_diff(STRANGER, task.id, 1),
        lambda: database.get_turn_diff(STRANGER, task.id, 7),
        lambda: database.get_turn_diff(USER, task.id, 7),
    ):
        with pytest.raises(NotFound):
            call()


def test_a_workspace_is_kept_for_its_own_task_while_it_rests(database: Database) -> None:
    task, other = running_task(database), running_task(database)
    for one in (task, other):
        assert not database.keep_workspace(one.id, f"box-{one.id}", LATER)
        finish(database, one, container_id=f"box-{one.id}")
    sooner = LATER - timedelta(days=1)
    assert database.keep_workspace(task.id, f"box-{task.id}", sooner)
    assert not database.keep_workspace(task.id, "another box", LATER)
    assert database.keep_workspace(other.id, f"box-{other.id}", LATER)
    assert database.list_workspaces() == [
        Workspace(other.id, f"box-{other.id}", LATER),
        Workspace(task.id, f"box-{task.id}", sooner),
    ]
    assert database.get_task(USER, task.id).workspace_until == sooner
    assert database.keep_workspace(other.id, f"box-{other.id}", None)
    assert [one.task_id for one in database.list_workspaces()] == [task.id]
