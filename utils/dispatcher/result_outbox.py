"""Results that the database could not take yet, kept on disk until it does.

A result is all there is to show for an agent's work, which may have cost money; it must outlive
both a database that is away and a server that stops meanwhile.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import structlog

from database import Database
from utils.database.types import dump_json
from utils.errors import DatabaseUnavailable
from utils.models.tasks import Event, EventBatch, Json, Task, TaskStatus

FOLDER_NAME = "results"

TRIES = 3
PAUSE_SECONDS = 0.5
"""How often, and with what pause, a database that answers is offered the same."""

TOO_LARGE = "The database did not take the diff and the patch: they are too large for it."

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FinishedTask:
    """What `Database.finish_task` is told of a task; no secret is left in it."""

    task_id: int
    status: TaskStatus
    fields: Json
    chat_message: Json | None
    file_changes: list[Json]
    batch: EventBatch

    @property
    def error_code(self) -> str | None:
        """Why the task failed, None when it did not."""
        return self.fields.get("error_code")

    @property
    def container_id(self) -> str:
        """The sandbox it comes from, empty without one."""
        return self.fields.get("container_id") or ""

    def smaller(self) -> Iterator[FinishedTask]:
        """Yield what may be stored in its place when the database cannot take all of it."""
        without_contents = replace(self, file_changes=[])
        yield without_contents
        metadata = self.fields.get("execution_metadata") or {}
        notes = [*metadata.get("notes", []), TOO_LARGE]
        fields = {**self.fields, "git_diff": None, "git_patch": None}
        yield replace(
            without_contents, fields={**fields, "execution_metadata": {**metadata, "notes": notes}}
        )

    def store(self, database: Database) -> Task | None:
        """Store it; None when the task does not run on this server (any more)."""
        return database.finish_task(
            self.task_id,
            self.status,
            self.fields,
            self.chat_message,
            self.file_changes,
            self.batch,
        )


class ResultOutbox:
    """One file for each result, below a folder that only this server uses."""

    def __init__(self, data_folder: Path) -> None:
        self._folder = data_folder / FOLDER_NAME

    def keep(self, result: FinishedTask) -> None:
        """Write a result to disk, complete or not at all; a full disk is only logged."""
        path = self._path(result.task_id)
        draft = path.with_suffix(".draft")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(dump_json(_as_json(result)))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            # It is stored all the same unless this server ends before the database is back.
            log.warning("result not written", action="outbox.write_failed", reason=error.strerror)
            with suppress(OSError):
                draft.unlink(missing_ok=True)

    def forget(self, task_id: int) -> None:
        """Remove a result that is stored."""
        self._path(task_id).unlink(missing_ok=True)

    def deliver(self, database: Database) -> list[str]:
        """Store what an earlier process of this server kept; return the sandboxes it came from.

        What cannot be stored is left for a person to look at: it must not keep the server from
        starting. Raises `DatabaseUnavailable` while the database is away.
        """
        sandboxes = []
        for path in sorted(self._folder.glob("*.json")):
            result = _read(path)
            if result is None:
                log.error("waiting result unreadable", action="outbox.unreadable", path=str(path))
                continue
            stored = _stored(database, result, path)
            if stored is None:
                continue
            if stored and result.container_id:
                sandboxes.append(result.container_id)
            path.unlink()
        return sandboxes

    def _path(self, task_id: int) -> Path:
        return self._folder / f"{task_id}.json"


def store_or_shrink(database: Database, result: FinishedTask) -> bool:
    """Store a result, or as much of it as a database takes that is there and yet refuses it.

    Blocking. False when the task does not run on this server (any more). Raises
    `DatabaseUnavailable`.
    """
    for version in (result, *result.smaller()):
        for _ in range(TRIES):
            try:
                return version.store(database) is not None
            except DatabaseUnavailable:
                time.sleep(PAUSE_SECONDS)
                database.ping()
        log.warning("result refused", action="result.refused", task_id=result.task_id)
    raise DatabaseUnavailable("The database answers and does not store this result.")


def _stored(database: Database, result: FinishedTask, path: Path) -> bool | None:
    """See `store_or_shrink`; None when the database refuses it. Raises when it is away."""
    try:
        stored = store_or_shrink(database, result)
    except DatabaseUnavailable:
        database.ping()
        log.warning("waiting result refused", action="outbox.refused", path=str(path))
        return None
    except Exception:
        log.exception("waiting result refused", action="outbox.refused", path=str(path))
        return None
    log.info(
        "waiting result stored" if stored else "late result dropped",
        action="outbox.delivered",
        task_id=result.task_id,
    )
    return stored


def _as_json(result: FinishedTask) -> Json:
    events = [{**asdict(event), "at": event.at.isoformat()} for event in result.batch.events]
    return {**asdict(result), "batch": {"events": events, "after": result.batch.after}}


def _read(path: Path) -> FinishedTask | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        events = [
            Event(**{**event, "at": datetime.fromisoformat(event["at"])})
            for event in values["batch"]["events"]
        ]
        batch = EventBatch(tuple(events), values["batch"]["after"])
        status = TaskStatus(values["status"])
        return FinishedTask(**{**values, "status": status, "batch": batch})
    except (ValueError, KeyError, TypeError):
        return None
