"""The contract of every database for statuses, results, messages and events of tasks."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

import pytest

from database import Database
from tests.fixtures.database import Query
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
    append,
    event,
    legacy_row,
    new_task,
    project_fields,
    running_task,
)
from utils.database.shared import MAX_CHAT_CHARACTERS, MAX_CHAT_MESSAGES
from utils.errors import Conflict, InvalidInput, NotFound
from utils.models.events import NO_EVENTS, Event
from utils.models.tasks import ACTIVE_STATUSES, TaskStatus


def test_a_claimed_task_cannot_be_claimed_again(database: Database) -> None:
    task = database.create_task(USER, new_task())
    claimed = database.move_task(task.id, {PENDING}, RUNNING, stage="cloning")
    assert claimed is not None
    assert (claimed.status, claimed.attempt, claimed.stage) == (RUNNING, 1, "cloning")
    assert claimed.started_at == claimed.updated_at >= task.updated_at
    assert database.move_task(task.id, {PENDING}, RUNNING) is None
    assert database.get_task_status(USER, task.id) == claimed


def test_of_many_claims_at_once_exactly_one_wins(database: Database) -> None:
    for _ in range(10):
        task = database.create_task(USER, new_task())
        claims = [lambda: database.move_task(task.id, {PENDING}, RUNNING)] * 4  # noqa: B023
        winners = [claimed for claimed in all_at_once(claims) if claimed is not None]
        assert [winner.attempt for winner in winners] == [1]


def test_a_task_may_run_again_and_counts_its_attempts(database: Database) -> None:
    task = running_task(database)
    waiting = database.move_task(task.id, {RUNNING}, PENDING, stage="queued")
    assert waiting is not None
    assert (waiting.status, waiting.attempt, waiting.stage) == (PENDING, 1, "queued")
    again = database.move_task(task.id, {PENDING}, RUNNING)
    assert again is not None
    assert again.attempt == 2


@pytest.mark.parametrize("end", [COMPLETED, FAILED, CANCELLED])
def test_an_ended_task_has_no_stage_and_no_token_any_more(
    database: Database, query: Query, end: TaskStatus
) -> None:
    task = running_task(database, encrypted_token=b"sealed")
    assert query("SELECT count(*) FROM task_secrets") == [(1,)]
    ended = database.move_task(task.id, ACTIVE_STATUSES, end, stage="agent", error_stage="agent")
    assert ended is not None
    assert (ended.status, ended.stage, ended.error_stage) == (end, None, "agent")
    assert ended.completed_at == ended.updated_at
    assert query("SELECT count(*) FROM task_secrets") == [(0,)]


@pytest.mark.parametrize("end", [COMPLETED, FAILED, CANCELLED])
def test_the_last_event_of_a_task_that_ends_without_a_result_tells_its_end(
    database: Database, end: TaskStatus
) -> None:
    waiting, running = database.create_task(USER, new_task()), running_task(database)
    append(database, running.id, event(1))
    for task in (waiting, running):
        database.move_task(task.id, ACTIVE_STATUSES, end, error="It ended", error_code="ended")
        assert database.move_task(task.id, ACTIVE_STATUSES, end) is None
        events = database.list_events(USER, task.id)[-2:]
        assert [(one.kind, one.data) for one in events] == [
            ("error", {"code": "ended", "message": "It ended"}),
            ("status", {"status": end, "error_code": "ended"}),
        ]
    assert [one.sequence for one in database.list_events(USER, running.id)] == [1, 2, 3]
    again = database.create_task(USER, new_task())
    database.move_task(again.id, {PENDING}, RUNNING)
    database.move_task(again.id, {RUNNING}, PENDING)
    assert database.list_events(USER, again.id) == []


def test_a_move_that_finds_another_status_changes_nothing(database: Database) -> None:
    task = database.create_task(USER, new_task(encrypted_token=b"sealed"))
    assert database.move_task(task.id, {RUNNING}, FAILED, error="Too late") is None
    assert database.move_task(task.id, (), FAILED) is None
    assert database.move_task(12345, {PENDING}, RUNNING) is None
    assert database.get_task(USER, task.id) == task
    claimed = database.claim_task(task.id)
    assert claimed is not None
    assert claimed.ciphertext == b"sealed"


def test_a_result_that_comes_after_a_cancel_is_dropped(database: Database) -> None:
    task = running_task(database)
    cancelled = database.move_task(task.id, ACTIVE_STATUSES, CANCELLED)
    message = {"role": "assistant", "content": "Done"}
    assert database.finish_task(task.id, COMPLETED, {"git_patch": "patch"}, message) is None
    assert database.get_task(USER, task.id) == cancelled


def test_a_task_is_finished_in_one_step(database: Database, query: Query) -> None:
    task = running_task(database, encrypted_token=b"sealed")
    fields = {
        "git_diff": "diff",
        "git_patch": "patch",
        "commit_hash": "abc",
        "changed_files": ["a.py", "ö.py"],
        "execution_metadata": {"simulated": True},
    }
    message = {"role": "assistant", "content": "Done \U0001f680"}
    changes = [{"filename": "a.py", "before": "FILE_NOT_EXISTS", "after": "x"}]
    finished = database.finish_task(task.id, COMPLETED, fields, message, changes)
    assert finished is not None
    assert (finished.status, finished.commit_hash, finished.has_patch) == (COMPLETED, "abc", True)
    assert finished.changed_files == ["a.py", "ö.py"]
    assert finished.execution_metadata == {"simulated": True}
    assert [entry["content"] for entry in finished.chat_messages] == ["Fix it", "Done \U0001f680"]
    assert datetime.fromisoformat(finished.chat_messages[-1]["timestamp"]).tzinfo is not None
    full = database.get_task(USER, task.id)
    assert full.execution_metadata == {"simulated": True, "file_changes": changes}
    assert query("SELECT count(*) FROM task_secrets") == [(0,)]


def test_file_changes_join_the_metadata_that_is_stored_already(database: Database) -> None:
    changes = [{"filename": "ö", "before": "1", "after": "2"}]
    task, bare = running_task(database), running_task(database)
    database.save_progress(task.id, NO_EVENTS, fields={"execution_metadata": {"offset": 7}})
    for task_id in (task.id, bare.id):
        database.finish_task(task_id, FAILED, {}, None, changes)
    expected = {"offset": 7, "file_changes": changes}
    assert database.get_task(USER, task.id).execution_metadata == expected
    assert database.get_task(USER, bare.id).execution_metadata == {"file_changes": changes}
    assert database.get_task_status(USER, bare.id).execution_metadata == {}


def test_only_a_running_task_is_updated(database: Database) -> None:
    task = database.create_task(USER, new_task())
    agent = {"stage": "agent", "container_id": "box"}
    assert not database.save_progress(task.id, NO_EVENTS, fields=agent)
    assert not append(database, task.id, event(1))
    database.move_task(task.id, {PENDING}, RUNNING)
    assert database.save_progress(task.id, NO_EVENTS, fields=agent)
    updated = database.get_task_status(USER, task.id)
    assert (updated.stage, updated.container_id) == ("agent", "box")
    assert updated.started_at is not None
    assert updated.updated_at > updated.started_at
    assert not database.save_progress(12345, NO_EVENTS, fields=agent)
    assert database.list_events(USER, task.id) == []


def test_what_cannot_be_stored_is_replaced_in_an_error(database: Database) -> None:
    task = running_task(database)
    failed = database.move_task(task.id, {RUNNING}, FAILED, error="a\x00b\ud83dc")
    assert failed is not None
    assert failed.error == "a\ufffdb\ufffdc"


def test_a_patch_is_stored_as_it_is_or_not_at_all(database: Database) -> None:
    task = running_task(database)
    with pytest.raises(InvalidInput):
        database.finish_task(task.id, COMPLETED, {"git_patch": "\udcff"}, None)
    assert database.get_task(USER, task.id) == task


def test_a_message_is_appended_and_stamped(database: Database) -> None:
    task = database.create_task(USER, new_task())
    content = "Noch etwas:\r\n\U0001f680 'quoted' \"too\" \\u0000 $[0]"
    answered = database.append_chat_message(USER, task.id, "assistant", content)
    assert answered.chat_messages[0] == task.chat_messages[0]
    message = answered.chat_messages[1]
    assert (message["role"], message["content"]) == ("assistant", content)
    assert message["timestamp"] == answered.updated_at.isoformat()
    assert database.get_task(USER, task.id) == answered


def test_events_are_appended_to_a_task_that_does_not_run(database: Database) -> None:
    task = running_task(database)
    append(database, task.id, event(1))
    database.finish_task(task.id, COMPLETED, {}, None)
    database.append_events(USER, task.id, [Event("git", {"operation": "push"}, LATER)])
    database.append_events(USER, task.id, [])
    stored = database.list_events(USER, task.id)
    assert [(one.sequence, one.kind) for one in stored] == [(1, "output"), (2, "git")]
    for user_id, task_id in ((STRANGER, task.id), (USER, 12345)):
        with pytest.raises(NotFound):
            database.append_events(user_id, task_id, [event(2)])
    assert database.list_events(USER, task.id) == stored


@pytest.mark.parametrize(
    "contents",
    [["x"] * (MAX_CHAT_MESSAGES - 1), ["x", "\U0001f680" * (MAX_CHAT_CHARACTERS - 2)]],
    ids=["messages", "characters"],
)
def test_a_full_conversation_takes_no_more(database: Database, contents: list[str]) -> None:
    stored = [{"role": "user", "content": text, "timestamp": ""} for text in contents]
    database.import_tasks(USER, [legacy_row(1, chat_messages=stored)])
    (task,) = database.list_tasks(USER).tasks
    full = database.append_chat_message(USER, task.id, "user", "y")
    assert len(full.chat_messages) == len(contents) + 1
    with pytest.raises(Conflict, match="new task") as refused:
        database.append_chat_message(USER, task.id, "user", "z")
    assert refused.value.code == "conversation_full"
    assert database.get_task(USER, task.id).chat_messages == full.chat_messages


def test_fifty_messages_at_once_are_all_kept_in_the_order_of_their_stamps(
    database: Database,
) -> None:
    task = database.create_task(USER, new_task())

    def append(number: int) -> None:
        database.append_chat_message(USER, task.id, "user", f"Message {number}")

    all_at_once([partial(append, number) for number in range(50)])
    messages = database.get_task(USER, task.id).chat_messages
    stamps = [datetime.fromisoformat(message["timestamp"]) for message in messages]
    assert messages[0]["content"] == "Fix it"
    assert {message["content"] for message in messages[1:]} == {f"Message {n}" for n in range(50)}
    assert len(messages) == 51
    assert stamps == sorted(stamps)


def test_events_are_numbered_in_their_order(database: Database) -> None:
    task = running_task(database)
    append(database, task.id, event(1), event(2))
    append(database, task.id)
    append(database, task.id, event(3))
    events = database.list_events(USER, task.id)
    assert [stored.sequence for stored in events] == [1, 2, 3]
    assert [(stored.kind, stored.data) for stored in events] == [
        ("output", {"text": f"Line {number}"}) for number in (1, 2, 3)
    ]
    assert events[0].at == event(1).at
    assert events[0].at.tzinfo is UTC
    page = database.list_events(USER, task.id, after=1, limit=1)
    assert [stored.sequence for stored in page] == [2]
    for beyond in (3, 2**31, 10**18 - 1):
        assert database.list_events(USER, task.id, after=beyond) == []


def test_events_of_two_tasks_are_numbered_apart(database: Database) -> None:
    first, second = running_task(database), running_task(database)
    append(database, first.id, event(1), event(2))
    append(database, second.id, event(1))
    assert [stored.sequence for stored in database.list_events(USER, second.id)] == [1]


def test_events_appended_at_once_get_different_numbers(database: Database) -> None:
    task = running_task(database)
    all_at_once([lambda: append(database, task.id, event(1), event(2))] * 10)
    sequences = [stored.sequence for stored in database.list_events(USER, task.id)]
    assert sequences == list(range(1, 21))


def test_what_cannot_be_stored_is_replaced_in_an_event(database: Database) -> None:
    task = running_task(database)
    data = {"text": "a\x00b\ud83d", "literal": "\\u0000", "list": ["\x00", 1, None, {"\x00": 1.5}]}
    append(database, task.id, Event("output", data, LATER))
    (stored,) = database.list_events(USER, task.id)
    assert stored.data == {
        "text": "a\ufffdb\ufffd",
        "literal": "\\u0000",
        "list": ["\ufffd", 1, None, {"\ufffd": 1.5}],
    }


def test_what_is_no_number_is_left_out_of_an_event(database: Database) -> None:
    task = running_task(database)
    data = {"cost": float("nan"), "limit": float("inf"), "text": "\x00", "seconds": 1.5}
    append(database, task.id, Event("usage", data, LATER))
    (stored,) = database.list_events(USER, task.id)
    assert stored.data == {"cost": None, "limit": None, "text": "\ufffd", "seconds": 1.5}


def test_events_of_a_deleted_task_are_dropped(database: Database) -> None:
    project = database.create_project(USER, project_fields())
    task = running_task(database, project_id=project.id)
    append(database, task.id, event(1))
    database.delete_project(USER, project.id)
    append(database, task.id, event(2))
    with pytest.raises(NotFound):
        database.list_events(USER, task.id)


def test_events_of_another_user_do_not_exist(database: Database) -> None:
    task = running_task(database)
    with pytest.raises(NotFound):
        database.list_events(STRANGER, task.id)
