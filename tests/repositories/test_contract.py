"""The contract of every database for the further repositories of tasks."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from database import Database
from tests.support.database.samples import COMPLETED, RUNNING, STRANGER, USER, new_task
from utils.errors import NotFound
from utils.models.events import NO_EVENTS
from utils.models.repositories import NewRepository
from utils.models.tasks import Task
from utils.models.turns import TurnResult, TurnStatus, first_turn

LIB = NewRepository("lib", "https://github.com/octo/lib", "")
DOCS = NewRepository("docs", "https://github.com/octo/docs", "next")
RESULT = {
    "position": 2,
    "target_branch": "next",
    "base_commit": "c0ffee",
    "tree_hash": "7ree",
    "commit_hash": "beef",
    "changed_files": ["a.md"],
    "additions": 2,
    "deletions": 1,
    "has_patch": True,
    "notes": ["Left\x00 out"],
    "secret_files": [],
    "git_diff": "diff",
    "git_patch": "patch",
}


def created(database: Database) -> Task:
    return database.create_task(USER, replace(new_task(), further=(LIB, DOCS)))


def finish(database: Database, task: Task) -> Task | None:
    claimed = database.claim_task(task.id)
    assert claimed
    assert claimed.task.has_further_repositories
    turn = replace(first_turn(claimed.task).turn, status=TurnStatus.COMPLETED)
    ended = TurnResult(turn, None, goes_on=True, repositories=[RESULT])
    return database.finish_task(task.id, COMPLETED, {}, None, (), NO_EVENTS, ended)


def test_a_task_has_its_further_repositories_in_order(database: Database) -> None:
    task, other = created(database), database.create_task(USER, new_task())
    found = database.list_repositories(USER, task.id)
    assert [(one.position, one.name, one.repo_url, one.target_branch) for one in found] == [
        (1, "lib", LIB.repo_url, ""),
        (2, "docs", DOCS.repo_url, "next"),
    ]
    assert not any(one.has_patch for one in found)
    assert (task.has_further_repositories, other.has_further_repositories) == (True, False)
    assert database.list_repositories(USER, other.id) == []


def test_a_result_is_stored_with_that_of_the_task(database: Database) -> None:
    task = created(database)
    assert finish(database, task)
    lib, docs = database.list_repositories(USER, task.id, with_texts=True)
    assert not lib.has_patch
    stored = {name: getattr(docs, name) for name in RESULT}
    assert stored == {**RESULT, "notes": ["Left\ufffd out"]}
    short = database.list_repositories(USER, task.id)[1]
    assert short == replace(docs, git_diff=None, git_patch=None)


def test_a_late_result_changes_nothing(database: Database) -> None:
    task = created(database)
    finish(database, task)
    before = database.list_repositories(USER, task.id, with_texts=True)
    ended = TurnResult(first_turn(task).turn, repositories=[{**RESULT, "git_diff": "late"}])
    assert database.finish_task(task.id, COMPLETED, {}, None, (), NO_EVENTS, ended) is None
    assert database.list_repositories(USER, task.id, with_texts=True) == before


def test_a_repository_has_a_pull_request_of_its_own(database: Database) -> None:
    task = created(database)
    address = "https://github.com/octo/docs/pull/7"
    opened = {"pr_url": address, "pr_number": 7, "pr_state": "open"}
    database.set_repository_pull_request(USER, task.id, 2, {"pr_branch": "b", "pr_commit": "c"})
    touched = database.set_repository_pull_request(USER, task.id, 2, opened)
    database.set_repository_pull_request(USER, task.id, 2, {})
    assert touched.updated_at > task.updated_at
    assert touched.pr_url is None
    lib, docs = database.list_repositories(USER, task.id)
    assert (lib.pr_url, docs.pr_url, docs.pr_number) == (None, address, 7)
    assert (docs.pr_branch, docs.pr_commit, docs.pr_state) == ("b", "c", "open")
    assert database.set_repository_pull_states(address, "other", "merged") == 0
    assert database.set_repository_pull_states(address, "b", "merged") == 1
    assert database.set_repository_pull_states(address, None, "merged") == 1
    assert database.list_repositories(USER, task.id)[1].pr_state == "merged"


def test_repositories_of_others_are_missing(database: Database) -> None:
    task = created(database)
    for user_id, task_id in ((STRANGER, task.id), (USER, task.id + 10**6)):
        with pytest.raises(NotFound):
            database.list_repositories(user_id, task_id)
        with pytest.raises(NotFound):
            database.set_repository_pull_request(user_id, task_id, 1, {"pr_number": 1})
    with pytest.raises(NotFound):
        database.set_repository_pull_request(USER, task.id, 3, {"pr_number": 1})


def test_the_record_of_a_task_has_its_repositories(database: Database) -> None:
    task = created(database)
    finish(database, task)
    [record] = database.get_task_records([task.id], max_bytes=10**6)
    lib, docs = json.loads(record.text)["repositories"]
    assert (lib["name"], lib["git_patch"]) == ("lib", None)
    assert {name: docs[name] for name in docs if name in RESULT} == {
        name: value
        for name, value in {**RESULT, "notes": ["Left\ufffd out"]}.items()
        if name != "has_patch"
    }


def test_repositories_are_deleted_with_their_task(database: Database) -> None:
    task = created(database)
    finish(database, task)
    database.delete_task(USER, task.id)
    again = created(database)
    assert again.id != task.id
    with pytest.raises(NotFound):
        database.list_repositories(USER, task.id)
    assert database.move_task(again.id, {again.status}, RUNNING)
