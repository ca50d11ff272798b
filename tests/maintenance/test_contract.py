"""The contract of every database for old tasks: they are found, read, deleted and remembered."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from database import Database
from tests.support.database.samples import (
    COMPLETED,
    LATER,
    RUNNING,
    STRANGER,
    USER,
    all_at_once,
    append,
    event,
    new_task,
    running_task,
)
from utils.errors import NotFound, TaskArchived
from utils.models.archive import ArchivedTask, ArchiveFile
from utils.models.tasks import Task, TaskMark
from utils.models.turns import NewTurn

HUGE = 10**9
FILE = ArchiveFile("2098-12-31/235959-0a1b2c3d.jsonl.zst", LATER)


def ended_task(database: Database, prompt: str = "Fix it") -> Task:
    task = running_task(database, prompt=prompt)
    append(database, task.id, event(1))
    ended = database.finish_task(
        task.id,
        COMPLETED,
        {"git_diff": "diff\n", "git_patch": "patch", "execution_metadata": {"seconds": 1.5}},
        {"role": "assistant", "content": "Done"},
        [{"filename": "a", "after": "ä\n"}],
    )
    assert ended is not None
    return ended


def marks_of(database: Database, *tasks: Task) -> list[TaskMark]:
    marks = database.list_task_marks([task.id for task in tasks], [], LATER)
    # They come in any order.
    return sorted(marks, key=lambda mark: mark.id)


def test_old_tasks_are_those_that_ended_and_did_not_change_since(database: Database) -> None:
    used, ended, _active = ended_task(database), ended_task(database), running_task(database)
    limit = datetime.now(UTC)
    database.set_pull_request(USER, used.id, {})
    assert database.list_old_tasks(limit, limit=10) == marks_of(database, ended)
    assert database.list_old_tasks(limit - timedelta(hours=1), limit=10) == []
    assert [mark.id for mark in database.list_old_tasks(LATER, limit=10)] == [ended.id, used.id]
    assert [mark.id for mark in database.list_old_tasks(LATER, limit=1)] == [ended.id]


def test_a_record_holds_all_that_is_stored_of_a_task(database: Database) -> None:
    prompt = "Größe\r\n\u2028\U0001f680 \\u0000 \" '"
    task = ended_task(database, prompt)
    database.add_turn(USER, task.id, NewTurn("More"))
    [record] = database.get_task_records([task.id, 999_999], max_bytes=HUGE)
    assert "\n" not in record.text
    found = json.loads(record.text)
    stored = database.get_task(USER, task.id)
    assert found["task"]["chat_messages"] == stored.chat_messages
    assert found["task"]["execution_metadata"] == stored.execution_metadata
    for name in ("id", "user_id", "status", "git_diff", "git_patch", "agent", "repo_url"):
        assert found["task"][name] == getattr(stored, name), name
    assert datetime.fromisoformat(found["task"]["created_at"]) == stored.created_at
    assert [turn["prompt"] for turn in found["turns"]] == [prompt, "More"]
    events = database.list_events(USER, task.id)
    assert [one["data"] for one in found["events"]] == [one.data for one in events]
    assert [one["sequence"] for one in found["events"]] == [1]


def test_records_end_when_there_is_enough_text(database: Database) -> None:
    tasks = [ended_task(database) for _ in range(3)]
    numbers = [task.id for task in tasks]
    for most, count in ((1, 1), (HUGE, 3)):
        records = database.get_task_records(numbers, max_bytes=most)
        assert [record.id for record in records] == numbers[:count]


def test_only_unchanged_tasks_that_have_ended_are_deleted(database: Database) -> None:
    old, used, noted, again, active = (
        *(ended_task(database) for _ in range(4)),
        running_task(database),
    )
    marks = marks_of(database, old, used, noted, again, active)
    database.set_pull_request(USER, used.id, {})
    database.append_events(USER, noted.id, [event(3)])
    database.add_turn(USER, again.id, NewTurn("More"))
    assert database.delete_old_tasks(marks) == [mark for mark in marks if mark.id == old.id]
    assert database.delete_old_tasks(marks) == []
    assert {task.id for task in database.list_tasks(USER).tasks} == {
        used.id,
        noted.id,
        again.id,
        active.id,
    }
    with pytest.raises(NotFound) as refused:
        database.get_task(USER, old.id)
    assert refused.value.code == "not_found"
    assert database.find_archived_tasks(old.id) == []


def test_the_owner_of_an_archived_task_is_told_so_and_nobody_else(database: Database) -> None:
    task = ended_task(database)
    assert database.delete_old_tasks(marks_of(database, task), FILE) != []
    for verb in (
        database.get_task,
        database.get_task_status,
        database.get_git_diff,
        database.list_events,
        database.list_turns,
        database.delete_task,
        partial(database.append_chat_message, role="user", content="Hello"),
        partial(database.set_pull_request, fields={}),
    ):
        with pytest.raises(TaskArchived, match="2099-01-01"):
            verb(USER, task.id)
        with pytest.raises(NotFound) as refused:
            verb(STRANGER, task.id)
        assert refused.value.code == "not_found"
    assert database.find_archived_tasks(task.id) == [
        ArchivedTask(USER, task.id, FILE.archived_at, FILE.name, database.server)
    ]


def test_several_servers_delete_each_old_task_once(database: Database) -> None:
    marks = marks_of(database, *(ended_task(database) for _ in range(5)))
    deleted = all_at_once([partial(database.delete_old_tasks, marks, FILE)] * 3)
    assert sorted(mark.id for found in deleted for mark in found) == [mark.id for mark in marks]


def test_what_is_known_of_archived_tasks_goes_with_their_user(database: Database) -> None:
    user_id = STRANGER.replace("b", "d")
    database.create_test_user(user_id, "test@example.com", {}, LATER)
    task = database.create_task(user_id, new_task())
    database.move_task(task.id, {task.status}, RUNNING)
    database.move_task(task.id, {RUNNING}, COMPLETED)
    database.delete_old_tasks(marks_of(database, task), FILE)
    assert len(database.find_archived_tasks(task.id)) == 1
    database.delete_test_user(user_id)
    assert database.find_archived_tasks(task.id) == []
