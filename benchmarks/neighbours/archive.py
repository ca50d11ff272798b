"""Measures how many old tasks are archived in what time, and what that costs other clients."""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.figures import Bench, Figure
from benchmarks.http_load import finished_task, load
from benchmarks.load import Load
from benchmarks.server import Server
from database import open_database
from utils.config.settings import Settings
from utils.maintenance.archive import FOLDER

TASKS = 100_000
SHARE_DUE = 0.9
EVENTS = 10
DAYS = 30
CLIENTS = 8
CHUNK = 1_000
PAUSE_SECONDS = 5
"""Time between two loads, so that a run of half an hour leaves the machine to others."""

RATIO_TARGET = 2.0

_EVENT = '{"stream":"stdout","text":"A line of output of an agent that worked on this task."}'


def archive_beside_polls(bench: Bench) -> list[Figure]:
    """Archive 90,000 of 100,000 tasks while eight clients poll a status."""
    count = bench.size(TASKS, 300)
    due = int(count * SHARE_DUE)
    folder = bench.folder / "server"
    requests = bench.size(CHUNK, CLIENTS)
    with Server(folder) as server:
        user_id = server.user_id
    _fill(folder / "data", user_id, count, due)
    database = folder / "data/async-code.db"
    with Server(folder, user_id=user_id) as server:
        request = server.request("GET", f"/api/task-status/{count}")
        load(server, request, clients=CLIENTS, requests=requests)
        quiet = [
            load(server, request, clients=CLIENTS, requests=requests)
            for _ in range(bench.size(9, 2))
        ]
    settings = {"RETENTION_DAYS": str(DAYS), "ARCHIVE": "true"}
    with Server(folder, settings, user_id=user_id) as server:
        began = time.monotonic()
        request = server.request("GET", f"/api/task-status/{count}")
        pause_seconds = bench.size(PAUSE_SECONDS, 0)
        busy = list(
            _loads_until_archived(server, request, requests, database, count - due, pause_seconds)
        )
        seconds = time.monotonic() - began
        archived = due - (_tasks(database) - (count - due))
    usual, beside = (statistics.median(one.p95 for one in loads) for loads in (quiet, busy))
    return [
        Figure("tasks due", due, ""),
        Figure("tasks archived", archived, "", due, "higher"),
        Figure("time", round(seconds, 1), "s"),
        Figure("archived", round(archived / seconds), "1/s"),
        Figure("files", sum(1 for _ in _files(folder / "data")), ""),
        Figure("status poll, p95", usual, "ms"),
        Figure("status poll beside the archive, p95", beside, "ms"),
        Figure("ratio", round(beside / usual, 2), "", RATIO_TARGET),
    ]


def _loads_until_archived(
    server: Server,
    request: bytes,
    requests: int,
    database: Path,
    left: int,
    pause_seconds: float,
) -> Iterator[Load]:
    yield load(server, request, clients=CLIENTS, requests=requests)
    while _tasks(database) > left:
        time.sleep(pause_seconds)
        yield load(server, request, clients=CLIENTS, requests=requests)


def _files(data: Path) -> Iterator[Path]:
    return (data / FOLDER).glob("*/*.zst")


def _tasks(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("SELECT count(*) FROM tasks").fetchone()[0])


def _fill(data: Path, user_id: str, count: int, due: int) -> None:
    database = open_database(Settings(data_dir=data, _env_file=None))
    old, fresh = (datetime.now(UTC) - timedelta(days=days) for days in (DAYS + 1, 1))
    try:
        database.ensure_user(user_id)
        for first in range(0, count, 1_000):
            rows = [
                finished_task(number) | {"created_at": old if number < due else fresh}
                for number in range(first, min(first + 1_000, count))
            ]
            database.import_tasks(user_id, rows)
    finally:
        database.close()
    with closing(sqlite3.connect(data / "async-code.db")) as connection, connection:
        connection.execute(
            "WITH RECURSIVE numbers (one) AS (SELECT 1 UNION ALL SELECT one + 1 FROM numbers "
            "WHERE one < ?) INSERT INTO task_events (task_id, sequence, at, kind, data) "
            "SELECT id, one, created_at, 'output', ? FROM tasks, numbers",
            (EVENTS, _EVENT),
        )
