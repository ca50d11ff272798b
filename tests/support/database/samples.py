"""Sample users, projects and tasks for the tests of databases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any, TypeVar

from database import Database
from utils.models.events import Event, EventBatch
from utils.models.tasks import Json, NewTask, Task, TaskStatus

USER = "00000000-0000-4000-8000-00000000000a"
STRANGER = "00000000-0000-4000-8000-00000000000b"
NOBODY = "00000000-0000-4000-8000-00000000000c"

PENDING, RUNNING = TaskStatus.PENDING, TaskStatus.RUNNING
COMPLETED, FAILED, CANCELLED = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED

LATER = datetime(2099, 1, 1, tzinfo=UTC)
LONG_AGO = LATER - timedelta(days=36_500)
ANY_SILENCE = timedelta(days=365)
NO_SILENCE = timedelta(days=-1)
"""A time within which nothing was seen."""

IMPOSSIBLE_ID = 10**30

Result = TypeVar("Result")


def project_fields(name: str = "demo") -> dict[str, Any]:
    return {
        "name": name,
        "description": None,
        "repo_url": f"https://github.com/octo/{name}",
        "repo_owner": "octo",
        "repo_name": name,
        "settings": {"colour": "blue"},
    }


def new_task(prompt: str = "Fix it", **changes: Any) -> NewTask:
    fields = {"repo_url": "https://github.com/octo/demo", "branch": "main", "agent": "claude"}
    return NewTask(prompt=prompt, **(fields | changes))


def legacy_row(number: object, prompt: str = "Old", **columns: object) -> dict[str, object]:
    return {
        "status": COMPLETED,
        "agent": "claude",
        "repo_url": "https://github.com/octo/demo",
        "target_branch": "main",
        "chat_messages": [{"role": "user", "content": prompt, "timestamp": LONG_AGO.isoformat()}],
        "execution_metadata": {"legacy_id": number},
        "created_at": LONG_AGO,
        **columns,
    }


def running_task(database: Database, **changes: Any) -> Task:
    task = database.create_task(USER, new_task(**changes))
    moved = database.move_task(task.id, {PENDING}, RUNNING)
    assert moved is not None
    return moved


def all_at_once(works: Sequence[Callable[[], Result]]) -> list[Result]:
    """Run functions in threads that start together; return their results."""
    barrier = Barrier(len(works))

    def run(work: Callable[[], Result]) -> Result:
        barrier.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def event(number: int) -> Event:
    return Event("output", {"text": f"Line {number}"}, LATER + timedelta(seconds=number))


def append(database: Database, task_id: int, *events: Event, position: Json | None = None) -> bool:
    """Append events of a running task, whatever events are stored already."""
    return database.save_progress(task_id, EventBatch(events), position=position)
