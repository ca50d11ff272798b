"""Old tasks are moved to the archive, whatever ends the server in between."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.backends import Backend, Repository, open_backend
from tests.support.database.migrated import provide_tables
from tests.support.database.samples import COMPLETED, LATER, RUNNING, STRANGER, USER, running_task
from tests.support.places import Place
from tests.support.preloaded import complete_preloaded
from tests.support.source_files import ROOT
from tests.support.waiting import PATIENCE_SECONDS, eventually
from utils.config.settings import Settings
from utils.database.sql.database import SqlDatabase, open_sql_database
from utils.errors import ConfigurationError, NotFound
from utils.maintenance.archive import FOLDER, Archive
from utils.maintenance.retention import Retention

SET: dict[str, Any] = {"retention_days": 7, "archive": True}

# Removes old tasks, and is killed when they are in the archive and still in the database.
KILLED = """
import os, signal
from datetime import UTC, datetime
from utils.config.settings import Settings
from utils.database.sql.database import SqlDatabase, open_sql_database
from utils.maintenance.retention import Retention

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

SqlDatabase.delete_old_tasks = die
settings = Settings(archive=True)
Retention(open_sql_database(settings), settings).remove_batch(datetime(2099, 1, 1, tzinfo=UTC))
"""


def make_old(folder: Path, task_ids: Sequence[int]) -> None:
    changed = (datetime.now(UTC) - timedelta(days=8)).isoformat(timespec="microseconds")
    with closing(sqlite3.connect(folder / "async-code.db")) as connection, connection:
        for task_id in task_ids:
            connection.execute("UPDATE tasks SET updated_at = ? WHERE id = ?", (changed, task_id))


def files(folder: Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder / FOLDER)) for path in (folder / FOLDER).glob("*/*.zst")
    )


def lines(folder: Path) -> list[int]:
    archive = Archive(folder)
    return sorted(line["task"]["id"] for name in files(folder) for line in archive.read(name))


def status_of(backend: Backend, path: str, user_id: str = USER) -> tuple[int, str]:
    answer = backend.app.test_client().get(path, headers={"X-User-ID": user_id})
    return answer.status_code, answer.get_json()["code"]


def archive_command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return complete_preloaded(
        ["-m", "utils.commands", "archive", *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "DATA_DIR": str(folder)},
        timeout=PATIENCE_SECONDS,
    )


@pytest.mark.local_only("the rows are changed in SQLite")
def test_an_archived_task_is_gone_for_its_owner_and_read_back_by_the_operator(
    place: Place, small_origin: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_backend(tmp_path, place) as backend:
        old = backend.complete("script:\nwrite a.txt ä", small_origin)
        events = backend.events(old["id"])
    make_old(tmp_path, [old["id"]])
    with open_backend(tmp_path, place, **SET, log_level="INFO") as backend:
        eventually(lambda: backend.get("/tasks")["total_tasks"] == 0)
        for path in ("task-status/{}", "tasks/{}", "tasks/{}/events", "git-diff/{}"):
            address = "/" + path.format(old["id"])
            assert status_of(backend, address) == (410, "task_archived")
            assert status_of(backend, address, STRANGER) == (404, "not_found")
        shown = archive_command(tmp_path, str(old["id"]))
        assert shown.returncode == 0, shown.stderr
    assert "retention.archived" in capsys.readouterr().err
    record = json.loads(shown.stdout)
    assert record["task"]["git_patch"] == old["git_patch"]
    assert record["task"]["chat_messages"] == old["chat_messages"]
    assert [event["data"] for event in record["events"]] == [event["data"] for event in events]
    [name] = files(tmp_path)
    file = tmp_path / FOLDER / name
    assert file.stat().st_mode & 0o077 == 0
    unknown = archive_command(tmp_path, "999")
    assert (unknown.returncode, unknown.stderr) == (1, "Task 999 is not in the archive.\n")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings.model_validate({**SET, "data_dir": tmp_path})
    provide_tables(settings)
    return settings


def ended_tasks(database: SqlDatabase, count: int) -> list[int]:
    database.ensure_user(USER)
    numbers = [running_task(database).id for _ in range(count)]
    for number in numbers:
        database.move_task(number, {RUNNING}, COMPLETED)
    return numbers


def test_a_kill_between_file_and_deletion_loses_nothing(settings: Settings) -> None:
    folder = settings.data_dir
    database = open_sql_database(settings)
    numbers = ended_tasks(database, 3)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "DATA_DIR": str(folder)},
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert killed.returncode == -signal.SIGKILL
    assert lines(folder) == numbers
    assert [mark.id for mark in database.list_old_tasks(LATER, limit=9)] == numbers
    assert Retention(database, settings).remove_batch(LATER) == 3
    assert lines(folder) == sorted(numbers * 2)
    archive = Archive(folder)
    for number in numbers:
        [found] = database.find_archived_tasks(number)
        assert archive.find(found.file, number)["task"]["id"] == number
    assert database.list_old_tasks(LATER, limit=9) == []
    database.close()


def test_an_archive_that_cannot_be_written_keeps_the_tasks(settings: Settings) -> None:
    database = open_sql_database(settings)
    numbers = ended_tasks(database, 1)
    (settings.data_dir / FOLDER).write_text("in the way")
    with pytest.raises(ConfigurationError, match="ARCHIVE=false"):
        Retention(database, settings).remove_batch(LATER)
    assert [mark.id for mark in database.list_old_tasks(LATER, limit=9)] == numbers
    database.close()


def test_unfinished_files_are_removed_when_they_are_old(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    moment = datetime.now(UTC)
    file = archive.write(['{"task":{"id":1}}'], moment)
    day = (tmp_path / FOLDER / file.name).parent
    (day / "left.jsonl.zst.draft").touch()
    (day / "fresh.jsonl.zst.draft").touch()
    past = (moment - timedelta(hours=2)).timestamp()
    os.utime(day / "left.jsonl.zst.draft", (past, past))
    archive.write(['{"task":{"id":2}}'], moment)
    assert {path.name for path in day.glob("*.draft")} == {"fresh.jsonl.zst.draft"}
    assert lines(tmp_path) == [1, 2]
    with pytest.raises(NotFound, match="cannot be read"):
        archive.find("2020-01-01/none.jsonl.zst", 1)
