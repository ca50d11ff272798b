"""The contract of every database for creating and reading tasks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from database import Database
from tests.support.database.samples import (
    COMPLETED,
    IMPOSSIBLE_ID,
    LATER,
    LONG_AGO,
    NOBODY,
    PENDING,
    STRANGER,
    USER,
    append,
    event,
    legacy_row,
    new_task,
    project_fields,
    running_task,
)
from utils.errors import Conflict, NotFound, Unauthenticated
from utils.models.events import NO_EVENTS
from utils.models.tasks import TaskFilter, TaskStatus

UNICODE = "Größe\r\n日本語 \U0001f680 \u202eabc\u202c e\u0301 \ufffe\\u0000 \\ \" ' % :x $1 {}"


def test_a_new_task_waits_with_its_prompt_as_the_first_message(database: Database) -> None:
    before = datetime.now(UTC)
    task = database.create_task(USER, new_task("Fix it", project_id=None))
    assert (task.status, task.attempt, task.has_patch) == (PENDING, 0, False)
    assert (task.user_id, task.agent, task.target_branch) == (USER, "claude", "main")
    assert task.prompt == "Fix it"
    assert task.chat_messages == [
        {"role": "user", "content": "Fix it", "timestamp": task.created_at.isoformat()}
    ]
    assert before <= task.created_at == task.updated_at <= datetime.now(UTC)
    assert task == database.get_task(USER, task.id) == database.get_task_status(USER, task.id)


def test_moments_come_back_in_utc(database: Database) -> None:
    task = database.create_task(USER, new_task())
    assert database.get_task(USER, task.id).created_at.tzinfo is UTC


def test_any_unicode_survives_in_a_prompt(database: Database) -> None:
    task = database.create_task(USER, new_task(UNICODE))
    assert database.get_task(USER, task.id).prompt == UNICODE
    assert database.list_tasks(USER).tasks[0].prompt_preview == UNICODE


def test_a_list_shows_the_beginning_and_the_length_of_a_long_prompt(database: Database) -> None:
    database.create_task(USER, new_task("\U0001f680" * 300))
    summary = database.list_tasks(USER).tasks[0]
    assert summary.prompt_preview == "\U0001f680" * 200
    assert summary.prompt_characters == 300


def test_a_task_may_belong_to_a_project_of_its_user(database: Database) -> None:
    project = database.create_project(USER, project_fields())
    assert database.create_task(USER, new_task(project_id=project.id)).project_id == project.id


def test_a_task_cannot_be_put_into_a_project_of_another_user(database: Database) -> None:
    project = database.create_project(STRANGER, project_fields())
    for project_id in (project.id, 12345, IMPOSSIBLE_ID):
        with pytest.raises(NotFound):
            database.create_task(USER, new_task(project_id=project_id))
    assert database.list_tasks(USER).total == 0


def test_a_task_needs_a_user(database: Database) -> None:
    with pytest.raises(Unauthenticated):
        database.create_task(NOBODY, new_task())


def test_a_task_of_another_user_does_not_exist(database: Database) -> None:
    task = database.create_task(STRANGER, new_task())
    for task_id in (task.id, 12345, -1, IMPOSSIBLE_ID):
        for read in (
            database.get_task,
            database.get_task_status,
            database.get_git_diff,
            database.get_conversation,
        ):
            with pytest.raises(NotFound):
                read(USER, task_id)
        with pytest.raises(NotFound):
            database.list_events(USER, task_id)
        with pytest.raises(NotFound):
            database.append_chat_message(USER, task_id, "user", "Hello")


def test_every_spelling_of_a_uuid_is_the_same_user(database: Database) -> None:
    task = database.create_task(USER.upper(), new_task())
    assert database.get_task(USER, task.id).user_id == USER
    with pytest.raises(NotFound):
        database.get_task("not a uuid", task.id)


def test_a_status_leaves_out_what_is_large(database: Database) -> None:
    task = running_task(database)
    results = {"git_diff": "diff", "git_patch": "patch", "execution_metadata": {"seconds": 1.5}}
    change = {"filename": "a", "before": "1", "after": "2"}
    database.finish_task(task.id, COMPLETED, results, None, [change])
    status = database.get_task_status(USER, task.id)
    assert (status.git_diff, status.git_patch, status.has_patch) == (None, None, True)
    assert status.execution_metadata == {"seconds": 1.5}
    full = database.get_task(USER, task.id)
    assert database.get_conversation(USER, task.id) == full.chat_messages
    assert (full.git_diff, full.git_patch, full.has_patch) == ("diff", "patch", True)
    assert full.execution_metadata == {"seconds": 1.5, "file_changes": [change]}


def test_the_diff_is_read_alone_and_empty_without_one(database: Database) -> None:
    task = running_task(database)
    assert database.get_git_diff(USER, task.id) == ""
    database.save_progress(task.id, NO_EVENTS, fields={"git_diff": UNICODE})
    assert database.get_git_diff(USER, task.id) == UNICODE


def test_pages_of_tasks_follow_each_other_without_gap_or_repetition(database: Database) -> None:
    created = [database.create_task(USER, new_task(f"Task {n}")).id for n in range(5)]
    database.create_task(STRANGER, new_task())
    seen: list[int] = []
    cursor = None
    while True:
        page = database.list_tasks(USER, limit=2, cursor=cursor)
        assert page.total == 5
        seen += [task.id for task in page.tasks]
        cursor = page.next_cursor
        if cursor is None:
            break
        database.create_task(STRANGER, new_task())
    assert seen == created[::-1]


def test_a_full_last_page_has_no_next_one(database: Database) -> None:
    for _ in range(2):
        database.create_task(USER, new_task())
    page = database.list_tasks(USER, limit=2)
    assert (len(page.tasks), page.next_cursor) == (2, None)
    assert database.list_tasks(STRANGER).tasks == ()


def test_a_list_can_be_of_one_project(database: Database) -> None:
    project = database.create_project(USER, project_fields())
    inside = database.create_task(USER, new_task(project_id=project.id))
    database.create_task(USER, new_task())
    page = database.list_tasks(USER, project_id=project.id)
    assert [task.id for task in page.tasks] == [inside.id]
    assert (page.total, page.tasks[0].project_id) == (1, project.id)
    assert database.list_tasks(STRANGER, project_id=project.id).total == 0


def test_the_tasks_of_a_project_come_as_full_statuses(database: Database) -> None:
    project = database.create_project(USER, project_fields())
    first, second, third = (
        database.create_task(USER, new_task(project_id=project.id)) for _ in range(3)
    )
    assert database.list_project_tasks(USER, project.id) == [third, second, first]
    assert database.list_project_tasks(USER, project.id, limit=1, cursor=third.id) == [second]
    for user_id, project_id in ((STRANGER, project.id), (USER, 12345), (USER, IMPOSSIBLE_ID)):
        with pytest.raises(NotFound):
            database.list_project_tasks(user_id, project_id)


def test_a_long_conversation_is_left_out_of_statuses_and_lists(database: Database) -> None:
    project = database.create_project(USER, project_fields())
    prompt = UNICODE + "p" * 300
    short, long = (
        database.create_task(USER, new_task(prompt, project_id=project.id)) for _ in range(2)
    )
    for _ in range(5):
        database.append_chat_message(USER, long.id, "assistant", "x" * 10_000)
    status = database.get_task_status(USER, long.id)
    assert status.conversation_cut
    assert (status.prompt, status.chat_messages) == (prompt, long.chat_messages)
    listed = {task.id: task for task in database.list_project_tasks(USER, project.id)}
    assert listed[long.id].conversation_cut
    assert listed[long.id].prompt == f"{prompt[:200]}..."
    assert listed[short.id] == database.get_task_status(USER, short.id) == short
    full = database.get_task(USER, long.id)
    assert (len(full.chat_messages), full.conversation_cut) == (6, False)


def test_a_list_can_be_of_chosen_tasks(database: Database) -> None:
    one = database.create_task(USER, new_task("Fix 100% of _it_", agent="codex"))
    other = database.create_task(USER, new_task("Fix 1000 of its", branch="b"))
    elsewhere = database.create_task(USER, new_task(repo_url="https://github.com/octo/other"))
    database.move_task(other.id, {PENDING}, COMPLETED)
    database.create_task(STRANGER, new_task("Fix 100% of _it_", agent="codex"))
    for wanted, found in (
        (TaskFilter(status=COMPLETED), [other]),
        (TaskFilter(agent="codex"), [one]),
        (TaskFilter(repo_url="https://github.com/octo/other"), [elsewhere]),
        (TaskFilter(text="100% OF _IT_"), [one]),
        (TaskFilter(status=PENDING, text="fix"), [elsewhere, one]),
        (TaskFilter(status=COMPLETED, agent="codex"), []),
    ):
        page = database.list_tasks(USER, wanted=wanted)
        assert ([task.id for task in page.tasks], page.total) == (
            [task.id for task in found],
            len(found),
        )
    page = database.list_tasks(USER, wanted=TaskFilter(status=PENDING), limit=1)
    assert (page.total, page.next_cursor) == (2, elsewhere.id)


def test_only_the_owner_deletes_a_task_and_only_one_that_has_ended(database: Database) -> None:
    task = running_task(database)
    assert append(database, task.id, event(1))
    with pytest.raises(Conflict) as refused:
        database.delete_task(USER, task.id)
    assert refused.value.code == "task_active"
    database.move_task(task.id, {TaskStatus.RUNNING}, TaskStatus.CANCELLED)
    with pytest.raises(NotFound):
        database.delete_task(STRANGER, task.id)
    assert len(database.list_events(USER, task.id)) == 2
    database.delete_task(USER, task.id)
    for verb in (database.get_task, database.delete_task, database.list_events):
        with pytest.raises(NotFound):
            verb(USER, task.id)


def test_a_number_is_never_given_twice(database: Database) -> None:
    project = database.create_project(USER, project_fields())
    last = database.create_task(USER, new_task(project_id=project.id))
    database.delete_project(USER, project.id)
    assert database.create_task(USER, new_task()).id > last.id
    assert database.create_project(USER, project_fields()).id > project.id


def test_tasks_are_counted_by_status_and_agent(database: Database) -> None:
    assert database.count_tasks() == {}
    database.create_task(STRANGER, new_task())
    database.create_task(USER, new_task())
    running_task(database, agent="codex")
    assert database.count_tasks() == {("pending", "claude"): 2, ("running", "codex"): 1}


def test_old_tasks_are_imported_once(database: Database) -> None:
    rows = [
        legacy_row(1, "First", git_patch="patch", completed_at=LATER),
        legacy_row("two"),
        legacy_row("1"),
    ]
    assert database.import_tasks(USER, rows) == 2
    assert database.import_tasks(USER, [*rows, legacy_row(3)]) == 1
    assert database.import_tasks(STRANGER, rows[:1]) == 1
    assert database.import_tasks(USER, []) == 0
    page = database.list_tasks(USER)
    oldest = page.tasks[-1]
    assert page.total == 3
    assert (oldest.prompt_preview, oldest.has_patch, oldest.status) == ("First", True, COMPLETED)
    assert (oldest.created_at, oldest.updated_at, oldest.completed_at) == (
        LONG_AGO,
        LONG_AGO,
        LATER,
    )


def test_an_import_cannot_choose_its_owner_number_or_project(database: Database) -> None:
    project = database.create_project(STRANGER, project_fields())
    with pytest.raises(NotFound):
        database.import_tasks(USER, [legacy_row(1, project_id=project.id)])
    database.import_tasks(USER, [legacy_row(1, id=4711, user_id=STRANGER)])
    (task,) = database.list_tasks(USER).tasks
    assert task.id != 4711
    with pytest.raises(Unauthenticated):
        database.import_tasks(NOBODY, [legacy_row(1)])


def test_a_moment_without_a_zone_is_refused(database: Database) -> None:
    naive = (LATER - timedelta(days=1)).replace(tzinfo=None)
    with pytest.raises(Exception, match="time zone"):
        database.import_tasks(USER, [legacy_row(1, created_at=naive)])


def test_a_list_tells_the_cost_whatever_an_older_backend_has_written(database: Database) -> None:
    costs: tuple[object, ...] = (0.0123, 3, "0.5", [1], True, None, -(10**400))
    rows = [
        legacy_row(number, execution_metadata={"legacy_id": number, "cost_usd": cost})
        for number, cost in enumerate(costs)
    ]
    rows.append(legacy_row(len(costs)))
    database.import_tasks(USER, rows)
    listed = [task.cost_usd for task in reversed(database.list_tasks(USER).tasks)]
    assert listed == [0.0123, 3, *[None] * 6]
