"""The contract of every database for groups of tasks."""

from __future__ import annotations

from typing import Any

import pytest

from database import Database
from tests.fixtures.database import Query
from tests.support.database.samples import (
    CANCELLED,
    COMPLETED,
    NOBODY,
    PENDING,
    STRANGER,
    USER,
    new_task,
    project_fields,
)
from utils.errors import NotFound, Unauthenticated
from utils.models.tasks import NewTask, Task


def attempts(**changes: Any) -> list[NewTask]:
    """Return two attempts of two agents."""
    fields = {"check_command": "make test", "encrypted_token": b"sealed", **changes}
    return [
        new_task(agent=agent, group_attempt=number, **fields)
        for agent in ("claude", "codex")
        for number in (1, 2)
    ]


def group_of(tasks: list[Task]) -> int:
    [group_id] = {task.group_id for task in tasks}
    assert group_id is not None
    return group_id


def test_a_group_is_stored_with_its_tasks(database: Database, query: Query) -> None:
    project_id = database.create_project(USER, project_fields()).id
    added = database.create_task_group(USER, attempts(project_id=project_id, prompt="Größe"))
    group = database.get_task_group(USER, group_of(added))
    assert (group.user_id, group.project_id, group.chosen_task_id) == (USER, project_id, None)
    assert (group.prompt, group.check_command, group.branch) == ("Größe", "make test", "main")
    assert [task.id for task in group.tasks] == [task.id for task in added]
    assert [task.agent for task in group.tasks] == ["claude", "claude", "codex", "codex"]
    for number, task in enumerate(group.tasks):
        assert (task.status, task.prompt, task.check_command) == (PENDING, "Größe", "make test")
        assert (task.execution_metadata or {})["group_attempt"] == number % 2 + 1
        assert database.get_task(USER, task.id).group_id == group.id
        assert database.get_task_status(USER, task.id).group_id == group.id
    assert query("SELECT count(*) FROM task_secrets") == [(4,)]
    listed = {task.id: task.group_id for task in database.list_tasks(USER).tasks}
    assert listed == {task.id: group.id for task in added}
    assert {task.group_id for task in database.list_project_tasks(USER, project_id)} == {group.id}
    alone = database.create_task(USER, new_task())
    assert alone.group_id is None
    claimed = database.claim_task(added[0].id)
    assert claimed is not None
    assert (claimed.task.group_id, claimed.task.check_command) == (group.id, "make test")


def test_a_group_that_cannot_be_stored_leaves_nothing(database: Database, query: Query) -> None:
    other = database.create_project(STRANGER, project_fields()).id
    with pytest.raises(NotFound):
        database.create_task_group(USER, attempts(project_id=other))
    with pytest.raises(Unauthenticated):
        database.create_task_group(NOBODY, attempts())
    # The second task cannot be stored, so neither is the first.
    with pytest.raises(Exception, match=r"\w"):
        database.create_task_group(USER, [new_task(), new_task(agent=None)])
    for table in ("task_groups", "tasks", "task_secrets"):
        assert query(f"SELECT count(*) FROM {table}") == [(0,)], table


def test_a_group_is_stored_with_the_answer(database: Database) -> None:
    assert database.begin_request(USER, "key", "fingerprint") is None
    added = database.create_task_group(USER, attempts(request_key="key"))
    assert database.begin_request(USER, "key", "fingerprint") == {
        "task_id": added[0].id,
        "task_ids": [task.id for task in added],
        "group_id": group_of(added),
    }


def test_groups_are_listed_with_counters_newest_first(database: Database) -> None:
    first, second, third = (
        group_of(database.create_task_group(USER, attempts(prompt="x" * 300))) for _ in range(3)
    )
    database.create_task_group(STRANGER, attempts())
    ended = database.get_task_group(USER, third).tasks
    database.claim_task(ended[0].id)
    database.finish_task(ended[0].id, COMPLETED, {}, None)
    database.move_task(ended[1].id, {PENDING}, CANCELLED)
    page = database.list_task_groups(USER, limit=2)
    assert [group.id for group in page] == [third, second]
    assert (page[0].prompt_preview, page[0].prompt_characters) == ("x" * 200, 300)
    counts = [(one.task_count, one.completed_tasks, one.active_tasks) for one in page]
    assert counts == [(4, 1, 2), (4, 0, 4)]
    assert [group.id for group in database.list_task_groups(USER, cursor=second)] == [first]


def test_a_task_of_the_group_is_chosen(database: Database) -> None:
    added = database.create_task_group(USER, attempts())
    group_id, other = group_of(added), database.create_task(USER, new_task())
    for task in (added[1], added[0]):
        database.choose_task(USER, group_id, task.id)
        assert database.get_task_group(USER, group_id).chosen_task_id == task.id
    with pytest.raises(NotFound, match="has no such task"):
        database.choose_task(USER, group_id, other.id)
    assert database.get_task_group(USER, group_id).chosen_task_id == added[0].id


def test_a_group_of_another_user_is_unknown(database: Database) -> None:
    added = database.create_task_group(USER, attempts())
    group_id = group_of(added)
    assert database.list_task_groups(STRANGER) == []
    for number in (group_id, group_id + 1):
        with pytest.raises(NotFound, match="group"):
            database.get_task_group(STRANGER, number)
        with pytest.raises(NotFound, match="no such group"):
            database.choose_task(STRANGER, number, added[0].id)
    assert database.get_task_group(USER, group_id).chosen_task_id is None


def test_a_group_ends_with_its_last_task_or_its_project(database: Database, query: Query) -> None:
    project_id = database.create_project(USER, project_fields()).id
    database.create_task_group(USER, attempts(project_id=project_id))
    added = database.create_task_group(USER, attempts())
    for number, task in enumerate(added):
        assert len(database.get_task_group(USER, group_of(added)).tasks) == 4 - number
        database.move_task(task.id, {PENDING}, CANCELLED)
        database.delete_task(USER, task.id)
    assert query("SELECT count(*) FROM task_groups") == [(1,)]
    database.delete_project(USER, project_id)
    assert query("SELECT count(*) FROM task_groups") == [(0,)]
