"""The contract of every database for pull requests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

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
    new_task,
    project_fields,
    running_task,
)
from utils.errors import Conflict, NotFound, Unauthenticated
from utils.models.automatic_pulls import AutomaticPull
from utils.models.tasks import NewTask, Task
from utils.models.turns import NewTurn

URL = "https://github.com/octo/demo/pull/7"
OPEN = {
    "pr_branch": "async-code/task-1",
    "pr_number": 7,
    "pr_url": URL,
    "pr_commit": "c0ffee",
    "pr_state": "open",
}

ASKED = {"execution_metadata": {"auto_pr": True}}
"""The part of a result that keeps the wish of its task."""

OTHER = "another server"


def test_a_pull_request_is_noted_with_its_task(database: Database) -> None:
    task = running_task(database)
    changes = [{"filename": "a", "before": "1", "after": "2"}]
    database.finish_task(task.id, COMPLETED, {"git_patch": "patch"}, None, changes)
    noted = database.set_pull_request(USER, task.id, OPEN)
    assert noted == database.get_task_status(USER, task.id)
    assert {name: getattr(noted, name) for name in OPEN} == OPEN
    assert (noted.status, noted.has_patch, noted.git_patch) == (COMPLETED, True, None)
    assert noted.execution_metadata == {}
    merged = database.set_pull_request(USER, task.id, {"pr_state": "merged"})
    assert (merged.pr_state, merged.pr_commit) == ("merged", "c0ffee")
    assert merged.updated_at > noted.updated_at
    assert database.get_task(USER, task.id).pr_state == "merged"


def test_the_pull_request_of_another_user_is_not_noted(database: Database) -> None:
    task = database.create_task(USER, new_task())
    for user_id, task_id in ((STRANGER, task.id), (USER, 12345)):
        with pytest.raises(NotFound):
            database.set_pull_request(user_id, task_id, OPEN)
    assert database.get_task(USER, task.id) == task


def test_tasks_are_found_by_their_pull_request(database: Database) -> None:
    first, other, second = (
        database.create_task(user_id, new_task()) for user_id in (USER, USER, STRANGER)
    )
    noted = [database.set_pull_request(task.user_id, task.id, OPEN) for task in (first, second)]
    database.set_pull_request(USER, other.id, {**OPEN, "pr_url": f"{URL}1"})
    assert database.list_pull_request_tasks(URL) == noted
    assert database.list_pull_request_tasks("https://github.com/octo/demo/pull/8") == []


def test_tasks_are_found_by_branch_and_number_in_every_repository(database: Database) -> None:
    first, other, second = (
        database.create_task(user_id, new_task()) for user_id in (USER, USER, STRANGER)
    )
    moved = {**OPEN, "pr_url": "https://github.com/octo/renamed/pull/7"}
    noted = [
        database.set_pull_request(USER, first.id, OPEN),
        database.set_pull_request(STRANGER, second.id, moved),
    ]
    database.set_pull_request(USER, other.id, {**OPEN, "pr_number": 8})
    assert database.list_branch_tasks("async-code/task-1", 7) == noted
    assert database.list_branch_tasks("async-code/task-10", 7) == []
    assert database.list_branch_tasks("a,b)\"'.eq.%\\ \xe9", 7) == []


def test_a_delivery_makes_one_task(database: Database) -> None:
    asked = new_task(delivery="comment-1", encrypted_token=b"sealed")
    made = all_at_once([lambda: _created(database, asked)] * 4)
    [task] = [task for task in made if task is not None]
    assert database.get_task(USER, task.id) == task
    assert [one.id for one in database.list_tasks(USER).tasks] == [task.id]
    assert database.has_delivery("comment-1")
    assert not database.record_delivery("comment-1")


def test_a_delivery_that_was_taken_makes_no_task(database: Database) -> None:
    database.record_delivery("comment-1")
    assert _created(database, new_task(delivery="comment-1")) is None
    assert database.list_tasks(USER).tasks == ()


@pytest.mark.parametrize(("user_id", "project_id"), [(USER, 12345), (NOBODY, None)])
def test_a_task_that_is_not_made_takes_no_delivery(
    database: Database, user_id: str, project_id: int | None
) -> None:
    with pytest.raises((NotFound, Unauthenticated)):
        database.create_task(user_id, new_task(delivery="comment-1", project_id=project_id))
    assert not database.has_delivery("comment-1")


def _created(database: Database, asked: NewTask) -> Task | None:
    try:
        return database.create_task(USER, asked)
    except Conflict:
        return None


def test_a_delivery_is_new_once(database: Database) -> None:
    assert not database.has_delivery("one")
    assert database.record_delivery("one")
    assert database.has_delivery("one")
    assert not database.record_delivery("one")
    assert database.record_delivery("two")


def test_of_a_delivery_that_comes_several_times_at_once_one_is_new(database: Database) -> None:
    taken = all_at_once([lambda: database.record_delivery("same")] * 6)
    assert sorted(taken) == [False] * 5 + [True]


def completed(database: Database, token: bytes | None = b"sealed") -> Task:
    task = running_task(database, auto_pr=True, encrypted_token=token)
    assert task.auto_pr
    ended = database.finish_task(task.id, COMPLETED, ASKED, None)
    assert ended is not None
    return ended


def due(database: Database, until: datetime = LATER) -> AutomaticPull:
    pull = database.claim_automatic_pull(until)
    assert pull is not None
    return pull


def test_a_completed_task_that_asked_for_it_makes_its_pull_request_due_with_its_token(
    database: Database,
) -> None:
    running_task(database, auto_pr=True)
    plain = running_task(database)
    database.finish_task(plain.id, COMPLETED, {}, None)
    assert database.claim_automatic_pull(LATER) is None
    task = completed(database)
    assert due(database) == AutomaticPull(task.id, USER, b"sealed", LATER, 1)
    assert database.end_automatic_pull(due(database))
    assert database.claim_automatic_pull(LATER) is None


@pytest.mark.parametrize("end", [FAILED, CANCELLED])
def test_a_task_that_ends_otherwise_has_no_pull_request_due(database: Database, end: str) -> None:
    task = running_task(database, auto_pr=True)
    database.finish_task(task.id, {"failed": FAILED, "cancelled": CANCELLED}[end], ASKED, None)
    assert database.claim_automatic_pull(LATER) is None


def test_of_several_servers_one_gets_a_pull_request(database: Database) -> None:
    completed(database)
    others = [database.owned_by(f"server {number}") for number in range(4)]
    claims = all_at_once([partial(one.claim_automatic_pull, LATER) for one in others])
    assert len([claim for claim in claims if claim]) == 1


def test_another_server_gets_it_when_the_lease_is_over_and_the_same_one_after_a_restart(
    database: Database,
) -> None:
    completed(database)
    first = due(database)
    other = database.owned_by(OTHER)
    assert other.claim_automatic_pull(LATER) is None
    again = due(database, datetime.now(UTC) - timedelta(seconds=60))
    assert (again.task_id, again.tries) == (first.task_id, 2)
    taken = due(other)
    assert (taken.task_id, taken.tries) == (first.task_id, 3)
    assert not database.end_automatic_pull(again)
    assert other.end_automatic_pull(taken)


def test_the_next_try_waits_for_its_time(database: Database) -> None:
    completed(database)
    assert database.end_automatic_pull(due(database), LATER)
    assert database.claim_automatic_pull(LATER) is None


def test_a_task_that_goes_on_has_its_pull_request_due_when_it_completes_again(
    database: Database,
) -> None:
    task = completed(database)
    held = due(database)
    database.add_turn(USER, task.id, NewTurn("More"))
    assert database.claim_automatic_pull(LATER) is None
    assert database.move_task(task.id, {PENDING}, RUNNING)
    assert database.finish_task(task.id, COMPLETED, ASKED, None)
    assert not database.end_automatic_pull(held)
    again = due(database)
    assert (again.task_id, again.ciphertext, again.tries) == (task.id, b"sealed", 1)
    database.delete_task(USER, task.id)
    assert database.claim_automatic_pull(LATER) is None


def test_a_task_that_is_cancelled_later_has_none_due(database: Database) -> None:
    task = completed(database)
    database.add_turn(USER, task.id, NewTurn("More"))
    assert database.move_task(task.id, {PENDING}, CANCELLED)
    assert database.claim_automatic_pull(LATER) is None


def test_the_settings_of_a_project_are_those_of_its_owner(database: Database) -> None:
    project_id = database.create_project(USER, project_fields()).id
    assert database.get_project_settings(USER, project_id) == {"colour": "blue"}
    for user_id, number in ((STRANGER, project_id), (USER, 12345)):
        with pytest.raises(NotFound):
            database.get_project_settings(user_id, number)
