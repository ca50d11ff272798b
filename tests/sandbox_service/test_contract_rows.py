"""The contract of every database for sandboxes and their operations."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from database import Database
from tests.support.database.samples import (
    IMPOSSIBLE_ID,
    LATER,
    LONG_AGO,
    NOBODY,
    STRANGER,
    USER,
    all_at_once,
    project_fields,
    running_task,
)
from utils.database.rows import now
from utils.errors import NotFound, SandboxLimitReached, Unauthenticated
from utils.models.sandboxes import (
    NewSandbox,
    SandboxOperation,
    SandboxStatus,
    StoredSandbox,
    TaskSandbox,
)
from utils.models.tasks import TaskStatus

CREATED, RUNNING, PAUSED = SandboxStatus.CREATED, SandboxStatus.RUNNING, SandboxStatus.PAUSED
TERMINATED, ERROR = SandboxStatus.TERMINATED, SandboxStatus.ERROR
LIVE = {CREATED, RUNNING, PAUSED}
REPOSITORY = {"name": "demo é", "repo_url": "https://github.com/octo/demo", "branch": None}


def add(database: Database, user: str = USER, most: int = 10, **changes: Any) -> StoredSandbox:
    fields: dict[str, Any] = {"provider": "local", "expires_at": LATER, **changes}
    return database.add_sandbox(user, NewSandbox(repositories=[REPOSITORY], **fields), most)


def opened(database: Database, name: str = "box", **changes: Any) -> StoredSandbox:
    moved = database.move_sandbox(
        add(database, **changes).id, {CREATED}, RUNNING, {"provider_id": name}
    )
    assert moved is not None
    return moved


def test_repositories_are_replaced_only_as_they_were_seen(database: Database) -> None:
    sandbox = opened(database)
    pushed = {**REPOSITORY, "pushed": {"topic": "a" * 40}}
    replace = partial(database.replace_sandbox_repositories, sandbox.id)
    assert replace([REPOSITORY], [pushed])
    assert not replace([REPOSITORY], [])
    assert database.get_sandbox(USER, sandbox.id).repositories == [pushed]
    assert not database.replace_sandbox_repositories(sandbox.id + 1_000, [], [])
    added = [partial(replace, [pushed], [pushed, {"name": str(number)}]) for number in range(4)]
    assert sorted(all_at_once(added)) == [False, False, False, True]
    [_, other] = database.get_sandbox(USER, sandbox.id).repositories
    database.move_sandbox(sandbox.id, {RUNNING}, PAUSED)
    assert not replace([pushed, other], [])


def task_sandbox(task_id: int, name: str = "box") -> TaskSandbox:
    return TaskSandbox(task_id, "local", name, None, [REPOSITORY], LATER)


def test_a_sandbox_is_read_as_it_was_stored(database: Database) -> None:
    added = add(database, template="node")
    assert (added.user_id, added.provider, added.template) == (USER, "local", "node")
    assert (added.status, added.repositories) == (CREATED, [REPOSITORY])
    assert (added.commands, added.running_ms, added.expires_at) == (0, 0, LATER)
    assert (added.task_id, added.project_id, added.provider_id) == (None, None, None)
    assert added.server == database.server
    assert isinstance(added.status, SandboxStatus)
    assert database.get_sandbox(USER, added.id) == added
    for user, sandbox_id in ((STRANGER, added.id), (USER, added.id + 1), (USER, IMPOSSIBLE_ID)):
        with pytest.raises(NotFound):
            database.get_sandbox(user, sandbox_id)
        with pytest.raises(NotFound):
            database.list_sandbox_operations(user, sandbox_id)


def test_a_user_has_so_many_sandboxes_also_when_all_are_asked_for_at_once(
    database: Database,
) -> None:
    def attempt() -> StoredSandbox | None:
        try:
            return add(database, most=2)
        except SandboxLimitReached:
            return None

    added = [one for one in all_at_once([attempt] * 5) if one]
    assert len(added) == 2
    with pytest.raises(SandboxLimitReached) as refused:
        add(database, most=2)
    assert refused.value.retry_after_seconds
    assert add(database, STRANGER, most=1)
    database.move_sandbox(added[0].id, {CREATED}, TERMINATED)
    assert add(database, most=2)
    with pytest.raises(Unauthenticated):
        add(database, NOBODY)


def test_sandboxes_are_listed_by_page_and_by_status(database: Database) -> None:
    older, newer = add(database), opened(database)
    add(database, STRANGER)
    assert database.list_sandboxes(USER) == [newer, older]
    assert database.list_sandboxes(USER, limit=1) == [newer]
    assert database.list_sandboxes(USER, cursor=newer.id) == [older]
    assert database.list_sandboxes(USER, status=CREATED) == [older]
    assert database.list_sandboxes(NOBODY) == []


def test_a_sandbox_moves_from_the_given_statuses_only_and_its_times_follow(
    database: Database,
) -> None:
    sandbox = opened(database)
    assert (sandbox.status, sandbox.provider_id) == (RUNNING, "box")
    assert sandbox.running_since is not None
    move = partial(database.move_sandbox, sandbox.id)
    assert move({CREATED, PAUSED}, TERMINATED) is None
    paused = move({RUNNING}, PAUSED)
    assert paused is not None
    assert paused.paused_at is not None
    assert paused.running_since is None
    assert paused.running_ms >= 0
    resumed = move({PAUSED}, RUNNING, {"expires_at": LATER + timedelta(days=1)})
    assert resumed is not None
    assert (resumed.paused_at, resumed.expires_at) == (None, LATER + timedelta(days=1))
    database.move_sandbox(sandbox.id, {RUNNING}, RUNNING, {"running_since": LONG_AGO})
    ended = move(LIVE, TERMINATED, {"error": "gone\x00"})
    assert ended is not None
    assert ended.running_ms > (now() - LONG_AGO).total_seconds() * 1000 - 60_000
    assert (ended.error, ended.is_live) == ("gone\ufffd", False)
    assert ended.ended_at is not None
    assert move(LIVE, RUNNING) is None
    assert database.get_sandbox(USER, sandbox.id) == ended


def test_of_moves_at_the_same_time_one_succeeds(database: Database) -> None:
    sandbox = opened(database)
    moves = [partial(database.move_sandbox, sandbox.id, {RUNNING}, PAUSED)] * 4
    assert sum(moved is not None for moved in all_at_once(moves)) == 1


def test_sandboxes_are_marked_by_the_names_that_their_provider_gave_them(
    database: Database,
) -> None:
    first, second = opened(database, "one"), opened(database, "two")
    other = opened(database, "three", provider="e2b")
    names = ["one", "two", "three", "four", '"),or(id.gt.0']
    assert database.mark_sandboxes("local", names, ERROR, "lost") == [first.id, second.id]
    assert database.mark_sandboxes("local", names, TERMINATED) == []
    assert database.mark_sandboxes("local", [], TERMINATED) == []
    marked = database.get_sandbox(USER, first.id)
    assert (marked.status, marked.error) == (ERROR, "lost")
    assert database.list_live_sandboxes() == [other]


def test_the_sandbox_of_a_task_belongs_to_its_user_and_project(database: Database) -> None:
    project = database.create_project(USER, project_fields())
    task = running_task(database, project_id=project.id)
    assert database.record_task_sandbox(task_sandbox(task.id))
    [stored] = database.list_sandboxes(USER)
    assert (stored.task_id, stored.project_id, stored.status) == (task.id, project.id, RUNNING)
    assert database.mark_sandboxes("local", ["box"], PAUSED) == [stored.id]
    assert database.record_task_sandbox(task_sandbox(task.id))
    [resumed] = database.list_sandboxes(USER)
    assert (resumed.id, resumed.status, resumed.paused_at) == (stored.id, RUNNING, None)
    assert not database.record_task_sandbox(task_sandbox(task.id + 1, "other"))
    # It counts for no limit, and its time is a matter of its task.
    assert add(database, most=1)
    assert resumed.id not in {one.id for one in database.list_live_sandboxes(LATER)}
    database.move_task(task.id, {TaskStatus.RUNNING}, TaskStatus.CANCELLED)
    database.delete_task(USER, task.id)
    with pytest.raises(NotFound):
        database.get_sandbox(USER, stored.id)


def test_sandboxes_whose_time_is_over_are_found(database: Database) -> None:
    due = opened(database, "one", expires_at=LATER - timedelta(seconds=1))
    opened(database, "two", expires_at=LATER + timedelta(seconds=1))
    assert database.list_live_sandboxes(LATER) == [due]
    database.move_sandbox(due.id, LIVE, TERMINATED)
    assert database.list_live_sandboxes(LATER) == []


def test_administrators_read_the_live_sandboxes_of_all_users_by_page(database: Database) -> None:
    first, ended, last = (opened(database, name) for name in ("one", "two", "three"))
    database.move_sandbox(ended.id, LIVE, TERMINATED)
    assert database.list_live_sandbox_page(limit=1) == [last]
    assert database.list_live_sandbox_page(limit=2, cursor=last.id) == [first]
    assert database.get_sandbox_owner(ended.id) == USER
    with pytest.raises(NotFound):
        database.get_sandbox_owner(last.id + 1)


def test_operations_are_logged_and_count_as_use(database: Database) -> None:
    sandbox = opened(database)
    assert sandbox.last_used_at is None
    executed = SandboxOperation(
        sandbox.id, USER, "execute", LATER, "echo \x00é", exit_code=3, duration_ms=12
    )
    refused = SandboxOperation(sandbox.id, USER, "pause", LATER, error_code="sandbox_state")
    assert database.record_sandbox_operation(executed)
    assert database.record_sandbox_operation(refused)
    newest, oldest = database.list_sandbox_operations(USER, sandbox.id)
    assert (oldest.kind, oldest.command, oldest.exit_code) == ("execute", "echo \ufffdé", 3)
    assert (oldest.duration_ms, oldest.created_at, oldest.user_id) == (12, LATER, USER)
    assert (newest.kind, newest.error_code, newest.command) == ("pause", "sandbox_state", None)
    assert database.list_sandbox_operations(USER, sandbox.id, limit=1) == [newest]
    assert database.list_sandbox_operations(USER, sandbox.id, cursor=newest.id) == [oldest]
    used = database.get_sandbox(USER, sandbox.id)
    assert used.commands == 1
    assert used.last_used_at is not None
    gone = SandboxOperation(sandbox.id + 1, USER, "execute", LATER)
    assert not database.record_sandbox_operation(gone)


def test_old_sandboxes_are_deleted_in_batches_with_their_operations(database: Database) -> None:
    boxes = [opened(database, name) for name in ("one", "two", "three")]
    for box in boxes[:2]:
        database.record_sandbox_operation(SandboxOperation(box.id, USER, "execute", LATER))
        database.move_sandbox(box.id, LIVE, TERMINATED)
    assert database.delete_old_sandboxes(LONG_AGO, limit=5) == 0
    assert database.delete_old_sandboxes(LATER, limit=1) == 1
    assert database.delete_old_sandboxes(LATER, limit=5) == 1
    assert database.list_sandboxes(USER) == [boxes[2]]
