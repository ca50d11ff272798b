"""The project endpoints."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import Headers, wait_until_idle

Json = dict[str, Any]
MINE = {"name": "Mine", "repo_url": "https://github.com/some-org/some.repo.git"}


@pytest.fixture
def project(client: FlaskClient, headers: Headers) -> Json:
    answer = client.post("/api/projects", json=MINE, headers=headers)
    assert answer.status_code == 200
    return dict(answer.get_json()["project"])


def read(client: FlaskClient, headers: Headers, project: Json) -> Json:
    answer = client.get(f"/projects/{project['id']}", headers=headers)
    return dict(answer.get_json()["project"])


def change(client: FlaskClient, headers: Headers, project: Json, body: Json) -> Json:
    answer = client.put(f"/projects/{project['id']}", json=body, headers=headers)
    assert answer.status_code == 200, answer.get_json()
    return dict(answer.get_json()["project"])


def test_a_project_is_made_from_its_address(project: Json, user: str) -> None:
    assert project["repo_url"] == "https://github.com/some-org/some.repo"
    assert (project["repo_owner"], project["repo_name"]) == ("some-org", "some.repo")
    assert (project["user_id"], project["settings"], project["is_active"]) == (user, {}, True)
    assert [project[key] for key in ("task_count", "completed_tasks", "active_tasks")] == [0, 0, 0]


def test_one_repository_is_one_project_of_a_user(
    client: FlaskClient, headers: Headers, stranger: Headers, project: Json
) -> None:
    again = {"name": "Again", "repo_url": "git@github.com:some-org/some.repo"}
    answer = client.post("/projects", json=again, headers=headers)
    assert (answer.status_code, answer.get_json()["code"]) == (409, "conflict")
    assert client.post("/projects", json=again, headers=stranger).status_code == 200


def test_projects_are_listed_newest_first(
    client: FlaskClient, headers: Headers, project: Json
) -> None:
    other = {"name": "Other", "repo_url": "https://github.com/o/other", "settings": {"a": [1]}}
    client.post("/projects", json=other, headers=headers)
    rows = client.get("/projects", headers=headers).get_json()["projects"]
    assert [row["name"] for row in rows] == ["Other", "Mine"]
    assert rows[0]["settings"] == {"a": [1]}


@pytest.mark.parametrize(
    "body",
    [
        {"name": "New name"},
        {"description": "What it is"},
        {"description": None},
        {"settings": {"deep": {"a": [1, None, True, "é"]}}},
        {"is_active": False},
        {},
    ],
)
def test_only_the_columns_that_are_sent_change(
    client: FlaskClient, headers: Headers, project: Json, body: Json
) -> None:
    changed = change(client, headers, project, body)
    assert changed | {"updated_at": ""} == project | body | {"updated_at": ""}
    assert read(client, headers, project) == changed


def test_a_new_address_brings_its_owner_and_name(
    client: FlaskClient, headers: Headers, project: Json
) -> None:
    changed = change(client, headers, project, {"repo_url": "https://github.com/o/moved"})
    assert (changed["repo_owner"], changed["repo_name"]) == ("o", "moved")


def test_a_whole_row_may_be_sent_back(client: FlaskClient, headers: Headers, project: Json) -> None:
    sent = project | {"name": "Renamed", "id": 5, "user_id": None, "task_count": "many"}
    changed = change(client, headers, project, sent)
    assert changed | {"updated_at": ""} == project | {"name": "Renamed", "updated_at": ""}


@pytest.mark.parametrize(
    "body",
    [{"name": None}, {"name": ""}, {"settings": None}, {"settings": "x"}, {"is_active": "yes"},
     {"repo_url": None}, {"repo_url": "x"}, {"unknown": 1}],
)  # fmt: skip
def test_a_wrong_change_changes_nothing(
    client: FlaskClient, headers: Headers, project: Json, body: Json
) -> None:
    answer = client.put(f"/projects/{project['id']}", json=body, headers=headers)
    assert answer.status_code == 400
    assert read(client, headers, project) == project


def test_a_change_must_not_take_another_projects_repository(
    client: FlaskClient, headers: Headers, project: Json
) -> None:
    other = {"name": "Other", "repo_url": "https://github.com/o/other"}
    client.post("/projects", json=other, headers=headers)
    path = f"/projects/{project['id']}"
    assert (
        client.put(path, json={"repo_url": other["repo_url"]}, headers=headers).status_code == 409
    )


def test_counters_and_tasks_follow_a_project(
    client: FlaskClient, headers: Headers, repository: Path
) -> None:
    body = {"name": "Local", "repo_url": str(repository)}
    project = client.post("/projects", json=body, headers=headers).get_json()["project"]
    task = {"prompt": "Hello", "repo_url": str(repository), "project_id": project["id"]}
    ids = [
        client.post("/start-task", json=task, headers=headers).get_json()["task_id"] for _ in "ab"
    ]
    deadline = time.monotonic() + 30
    while read(client, headers, project)["active_tasks"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    row = read(client, headers, project)
    assert (row["task_count"], row["completed_tasks"]) == (2, 2)
    path = f"/projects/{project['id']}/tasks"
    answer = client.get(path, headers=headers).get_json()
    assert [task["id"] for task in answer["tasks"]] == ids[::-1]
    assert answer["tasks"][0]["chat_messages"][0]["content"] == "Hello"
    first = client.get(f"{path}?limit=1", headers=headers).get_json()
    rest = client.get(f"{path}?cursor={first['next_cursor']}", headers=headers).get_json()
    assert [task["id"] for task in first["tasks"] + rest["tasks"]] == ids[::-1]


def test_deleting_a_project_stops_its_tasks(
    app: Flask, client: FlaskClient, headers: Headers, repository: Path
) -> None:
    body = {"name": "Local", "repo_url": str(repository)}
    project = client.post("/projects", json=body, headers=headers).get_json()["project"]
    task = {"prompt": "script:\nsleep 60", "repo_url": str(repository), "project_id": project["id"]}
    ids = [
        client.post("/start-task", json=task, headers=headers).get_json()["task_id"] for _ in "ab"
    ]
    path = f"/projects/{project['id']}"
    assert client.delete(path, headers=headers).get_json()["status"] == "success"
    assert client.get(path, headers=headers).status_code == 404
    assert client.delete(path, headers=headers).status_code == 404
    for task_id in ids:
        assert client.get(f"/task-status/{task_id}", headers=headers).status_code == 404
    wait_until_idle(app)
