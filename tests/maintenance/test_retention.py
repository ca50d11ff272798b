"""A server deletes old tasks that have ended, and nothing else."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.backends import Repository, open_backend
from tests.support.places import Place
from tests.support.waiting import eventually

pytestmark = pytest.mark.local_only("the rows are changed in SQLite")


def test_ended_tasks_without_a_change_for_the_set_time_are_deleted(
    place: Place, small_origin: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_backend(tmp_path, place, shutdown_grace_seconds=0) as backend:
        old, new = [backend.complete("Hi", small_origin)["id"] for _ in range(2)]
        active = backend.start("script:\nsleep 300", small_origin)
        eventually(lambda: backend.status(active).get("stage") == "agent")
    now = datetime.now(UTC)
    with closing(sqlite3.connect(tmp_path / "async-code.db")) as connection, connection:
        for task_id, days in ((old, 8), (new, 6), (active, 8)):
            changed = (now - timedelta(days=days)).isoformat(timespec="microseconds")
            connection.execute("UPDATE tasks SET updated_at = ? WHERE id = ?", (changed, task_id))
    with open_backend(
        tmp_path, place, retention_days=7, log_level="INFO", shutdown_grace_seconds=0
    ) as backend:
        eventually(lambda: list(backend.get("/tasks")["tasks"]) == [str(active), str(new)])
        assert backend.status(active)["status"] in {"pending", "running"}
        assert backend.events(new)[-1]["data"] == {"status": "completed"}
        with closing(sqlite3.connect(tmp_path / "async-code.db")) as connection:
            events = "SELECT count(*) FROM task_events WHERE task_id = ?"
            assert connection.execute(events, (old,)).fetchone() == (0,)
    log = capsys.readouterr().err
    assert "retention.deleted" in log
    assert "count=1" in log or '"count": 1' in log
