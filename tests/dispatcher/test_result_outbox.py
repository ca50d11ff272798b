"""Tests of results that a database refuses, does not need, or takes later from the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from database import Database
from utils.dispatcher.result_outbox import (
    TOO_LARGE,
    FinishedTask,
    ResultOutbox,
    store_or_shrink,
)
from utils.errors import DatabaseUnavailable
from utils.models.events import EventBatch
from utils.models.tasks import Json, TaskStatus

CHANGES = [{"filename": "a.txt", "before": "", "after": "a"}]
RESULT = FinishedTask(
    task_id=1,
    status=TaskStatus.COMPLETED,
    fields={
        "container_id": "sandbox-1",
        "git_diff": "d",
        "git_patch": "p",
        "execution_metadata": {"notes": ["other"]},
    },
    chat_message=None,
    file_changes=CHANGES,
    batch=EventBatch((), 0),
)


class RefusingDatabase:
    """A database that refuses the first results that it is sent."""

    error: Exception = DatabaseUnavailable("refused")

    def __init__(self, refusals: int, *, answers: bool = True, runs_task: bool = True) -> None:
        self.sent: list[tuple[Json, list[Json]]] = []
        self._refusals = refusals
        self._answers = answers
        self._runs_task = runs_task

    def finish_task(self, *arguments: Any) -> object | None:
        """Record the fields and the file changes of a result."""
        _task_id, _status, fields, _message, changes, _batch, _turn = arguments
        self.sent.append((fields, changes))
        if len(self.sent) <= self._refusals:
            raise self.error
        return object() if self._runs_task else None

    def ping(self) -> None:
        """Raise when the database does not answer."""
        if not self._answers:
            raise DatabaseUnavailable("away")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.dispatcher.result_outbox.PAUSE_SECONDS", 0)


@pytest.mark.parametrize("refusals", range(9))
def test_each_version_of_a_result_is_sent_three_times_before_a_smaller_one(refusals: int) -> None:
    database = RefusingDatabase(refusals)
    assert store_or_shrink(cast("Database", database), RESULT)
    assert len(database.sent) == refusals + 1
    shrunk = {
        "container_id": "sandbox-1",
        "git_diff": None,
        "git_patch": None,
        "execution_metadata": {"notes": ["other", TOO_LARGE]},
    }
    versions = [(RESULT.fields, CHANGES), (RESULT.fields, []), (shrunk, [])]
    assert database.sent == [versions[number // 3] for number in range(refusals + 1)]


def test_a_result_that_is_refused_in_every_version_is_not_stored() -> None:
    database = RefusingDatabase(100)
    with pytest.raises(DatabaseUnavailable, match="refuses to store"):
        store_or_shrink(cast("Database", database), RESULT)
    assert len(database.sent) == 9


def test_a_database_that_does_not_answer_is_sent_no_smaller_version() -> None:
    database = RefusingDatabase(100, answers=False)
    with pytest.raises(DatabaseUnavailable, match="away"):
        store_or_shrink(cast("Database", database), RESULT)
    assert database.sent == [(RESULT.fields, CHANGES)]


@pytest.mark.parametrize(("runs_task", "sandboxes"), [(True, ["sandbox-1"]), (False, [])])
def test_only_the_sandbox_of_a_result_that_was_stored_is_ended(
    tmp_path: Path, runs_task: bool, sandboxes: list[str]
) -> None:
    outbox = ResultOutbox(tmp_path)
    outbox.save(RESULT)
    (file,) = (tmp_path / "results").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    database = RefusingDatabase(0, runs_task=runs_task)
    assert outbox.deliver(cast("Database", database)) == sandboxes
    assert database.sent == [(RESULT.fields, CHANGES)]
    assert not file.exists()


def test_a_result_that_is_refused_stays_on_disk(tmp_path: Path) -> None:
    outbox = ResultOutbox(tmp_path)
    outbox.save(RESULT)
    assert outbox.deliver(cast("Database", RefusingDatabase(100))) == []
    with pytest.raises(DatabaseUnavailable, match="away"):
        outbox.deliver(cast("Database", RefusingDatabase(100, answers=False)))
    assert outbox.deliver(cast("Database", RefusingDatabase(0))) == ["sandbox-1"]


def test_a_result_that_the_database_cannot_read_keeps_no_server_from_starting(
    tmp_path: Path,
) -> None:
    outbox = ResultOutbox(tmp_path)
    outbox.save(RESULT)
    database = RefusingDatabase(1)
    database.error = ValueError("no such column")
    assert outbox.deliver(cast("Database", database)) == []
    assert outbox.deliver(cast("Database", database)) == ["sandbox-1"]
