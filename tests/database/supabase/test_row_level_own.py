"""Row-level security: allowed and forbidden operations of users on their own rows."""

from __future__ import annotations

from typing import Any

import pytest
from httpx import Client
from sqlalchemy import Engine

from tests.support.database.row_level_rows import OWN_PROFILE, OWN_PROJECT, SHARED, Person, row_of
from utils.database.schema import metadata, projects, tasks, users

REPRESENTATION = {"Prefer": "return=representation"}

unchanged = pytest.mark.usefixtures("no_changes")


@pytest.mark.parametrize("table", SHARED)
def test_own_rows_can_be_read_with_all_columns(own: Client, owner: Person, table: str) -> None:
    rows = own.get(table, params={"select": "*"}).raise_for_status().json()
    assert len(rows) == 1
    assert set(rows[0]) == set(metadata.tables[table].columns.keys())
    for name, key in owner.keys[table].items():
        assert str(rows[0][name]) == key.removeprefix("eq.")


@unchanged
def test_a_project_is_added_changed_and_deleted_by_its_user(own: Client, owner: Person) -> None:
    project = {
        "user_id": owner.id,
        "repo_url": "https://github.com/one/new",
        "repo_owner": "one",
        "repo_name": "new",
        "name": "New",
    }
    [added] = own.post("projects", json=project, headers=REPRESENTATION).json()
    assert added.items() >= project.items()
    assert (added["is_active"], added["settings"]) == (True, {})
    this_one = {"id": f"eq.{added['id']}"}
    change = dict.fromkeys(OWN_PROJECT, "other") | {"is_active": False, "settings": {"a": 1}}
    [changed] = own.patch("projects", params=this_one, json=change, headers=REPRESENTATION).json()
    assert changed.items() >= change.items()
    assert changed["updated_at"] > added["updated_at"] == added["created_at"]
    [deleted] = own.delete("projects", params=this_one, headers=REPRESENTATION).json()
    assert deleted == changed


@unchanged
def test_a_project_with_unfinished_tasks_is_not_deleted_past_the_backend(
    own: Client, owner: Person
) -> None:
    [task] = own.get("tasks", params={"select": "status,project_id"}).json()
    assert task["status"] == "pending"
    this_one = {"id": f"eq.{task['project_id']}"}
    answer = own.delete("projects", params=this_one, headers=REPRESENTATION)
    assert answer.raise_for_status().json() == []


def test_users_change_their_own_profile(own: Client, owner: Person) -> None:
    texts: dict[str, Any] = dict.fromkeys(OWN_PROFILE, "mine")
    change = texts | {"preferences": {"codex": {"env": {}}}}
    [row] = own.patch("users", json=change, headers=REPRESENTATION).json()
    assert row.items() >= {**change, "id": owner.id, "is_test_user": False}.items()


@unchanged
@pytest.mark.parametrize(
    ("table", "column"),
    [
        *(("users", column.name) for column in users.c if column.name not in OWN_PROFILE),
        *(("projects", column.name) for column in projects.c if column.name not in OWN_PROJECT),
        *(("tasks", column.name) for column in tasks.c if not column.server_default),
    ],
)
def test_other_columns_of_an_own_row_are_refused(
    own: Client, engine: Engine, owner: Person, other: Person, table: str, column: str
) -> None:
    theirs = row_of(engine, other, table)[column]
    answer = own.patch(table, params=owner.keys[table], json={column: theirs})
    assert answer.status_code == 403


@unchanged
def test_a_project_cannot_be_added_for_somebody_else(own: Client, other: Person) -> None:
    names = dict.fromkeys(("repo_url", "repo_owner", "repo_name", "name"), "x")
    for user_id in (other.id, None):
        assert own.post("projects", json={**names, "user_id": user_id}).status_code == 403


@unchanged
@pytest.mark.parametrize("whose", ["owner", "other"])
def test_a_task_cannot_be_added_changed_or_deleted_past_the_backend(
    own: Client, owner: Person, other: Person, whose: str
) -> None:
    project = {"owner": owner, "other": other}[whose].keys["projects"]["id"]
    task = {"user_id": owner.id, "repo_url": "x", "project_id": int(project.removeprefix("eq."))}
    of_project = {"project_id": project}
    answers = [
        own.post("tasks", json=task),
        own.patch("tasks", params=of_project, json={"git_patch": "x"}),
        own.delete("tasks", params=of_project),
    ]
    assert [answer.status_code for answer in answers] == [403] * 3


def test_embedding_shows_what_is_ones_own(own: Client, owner: Person) -> None:
    [user] = own.get("users", params={"select": "*,projects(*,tasks(*,task_events(*)))"}).json()
    [task] = user["projects"][0]["tasks"]
    assert task["user_id"] == owner.id
    assert len(task["task_events"]) == 1
