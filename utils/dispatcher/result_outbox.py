"""Stores results on disk until the database accepts them.

An agent's work may have cost money, and its result is all that remains of it. The result must
survive both an unavailable database and a restart of the server.
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
from utils.models.events import Event, EventBatch
from utils.models.tasks import Json, Mode, Task, TaskStatus
from utils.models.turns import Turn, TurnResult, TurnStatus
from utils.models.usage import Usage, UsageRecord

FOLDER_NAME = "results"

ATTEMPTS = 3
"""Times that the same version of a result is sent to a database that answers."""

TURN_MOMENTS = ("created_at", "started_at", "ended_at")

PAUSE_SECONDS = 0.5
"""Pause between two attempts."""

TOO_LARGE = "The diff and the patch were not stored: they are too large for the database."

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FinishedTask:
    """The arguments of `Database.finish_task` for one task, without secrets.

    `owner` is the run of the engine that the task belongs to; without one the server owns it.
    """

    task_id: int
    status: TaskStatus
    fields: Json
    chat_message: Json | None
    file_changes: list[Json]
    batch: EventBatch
    turn: TurnResult | None = None
    owner: str | None = None

    @property
    def error_code(self) -> str | None:
        """The error code of a failed task, else None."""
        return self.fields.get("error_code")

    @property
    def container_id(self) -> str:
        """The id of the task's sandbox, empty without a sandbox."""
        return self.fields.get("container_id") or ""

    def smaller_versions(self) -> Iterator[FinishedTask]:
        """Yield versions to store when the database refuses the whole result, largest first."""
        without_contents = replace(self, file_changes=[])
        yield without_contents
        metadata = self.fields.get("execution_metadata") or {}
        notes = [*metadata.get("notes", []), TOO_LARGE]
        fields = {**self.fields, "git_diff": None, "git_patch": None}
        yield replace(
            without_contents,
            fields={**fields, "execution_metadata": {**metadata, "notes": notes}},
            turn=self.turn and _without_texts(self.turn),
        )

    def store(self, database: Database) -> Task | None:
        """Store the result; return None when the task does not run on this server (any more)."""
        owner = database if self.owner is None else database.owned_by(self.owner)
        return owner.finish_task(
            self.task_id,
            self.status,
            self.fields,
            self.chat_message,
            self.file_changes,
            self.batch,
            self.turn,
        )


def _without_texts(turn: TurnResult) -> TurnResult:
    texts = {"git_diff": None, "git_patch": None, "has_patch": False}
    repositories = [
        {**one, **texts, "notes": [*one["notes"], TOO_LARGE]} if "notes" in one else one
        for one in turn.repositories
    ]
    return replace(turn, git_diff=None, repositories=repositories)


class ResultOutbox:
    """Holds one file for each unstored result, in a folder that only this server uses."""

    def __init__(self, data_folder: Path) -> None:
        self._folder = data_folder / FOLDER_NAME

    def save(self, result: FinishedTask) -> None:
        """Write a result to disk atomically; log an error of the disk and continue."""
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
            # The result is still in memory and is lost only if this server ends before the database
            # is back.
            log.warning("result not written", action="outbox.write_failed", reason=error.strerror)
            with suppress(OSError):
                draft.unlink(missing_ok=True)

    def delete(self, task_id: int) -> None:
        """Delete the file of a result that the database has stored."""
        self._path(task_id).unlink(missing_ok=True)

    def deliver(self, database: Database) -> list[str]:
        """Store the results of an earlier process; return the ids of their sandboxes.

        A result that cannot be stored stays on disk for the operator; it must not prevent the
        start of the server. Raises `DatabaseUnavailable` when the database cannot be reached.
        """
        sandboxes = []
        for path in sorted(self._folder.glob("*.json")):
            result = _read(path)
            if result is None:
                log.error("waiting result unreadable", action="outbox.unreadable", path=str(path))
                continue
            stored = _store_from_disk(database, result, path)
            if stored is None:
                continue
            if stored and result.container_id:
                sandboxes.append(result.container_id)
            path.unlink()
        return sandboxes

    def _path(self, task_id: int) -> Path:
        return self._folder / f"{task_id}.json"


def store_or_shrink(database: Database, result: FinishedTask) -> Task | None:
    """Store a result, or a smaller version if the database refuses it although it answers.

    Blocks. Returns None when the task does not run on this server (any more). Raises
    `DatabaseUnavailable`.
    """
    for version in (result, *result.smaller_versions()):
        for _ in range(ATTEMPTS):
            try:
                return version.store(database)
            except DatabaseUnavailable:
                time.sleep(PAUSE_SECONDS)
                database.ping()
        log.warning("result refused", action="result.refused", task_id=result.task_id)
    raise DatabaseUnavailable("The database answers but refuses to store this result.")


def _store_from_disk(database: Database, result: FinishedTask, path: Path) -> bool | None:
    """Store a result from disk; return None when the database refuses it.

    Otherwise like `store_or_shrink`. Raises `DatabaseUnavailable` when the database cannot be
    reached.
    """
    try:
        stored = store_or_shrink(database, result) is not None
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
    values = {**asdict(result), "batch": {"events": events, "after": result.batch.after}}
    if result.turn:
        moments = {name: _text_of(getattr(result.turn.turn, name)) for name in TURN_MOMENTS}
        values["turn"]["turn"] |= moments
        if used := result.turn.usage:
            values["turn"]["usage"]["at"] = used.at.isoformat()
    return values


def _text_of(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _read_turn(values: Json) -> TurnResult:
    turn = values["turn"]
    moments = {name: turn[name] and datetime.fromisoformat(turn[name]) for name in TURN_MOMENTS}
    kinds = {"mode": Mode(turn["mode"]), "status": TurnStatus(turn["status"])}
    usage = _read_usage(values["usage"]) if values.get("usage") else None
    return TurnResult(**{**values, "turn": Turn(**{**turn, **moments, **kinds}), "usage": usage})


def _read_usage(values: Json) -> UsageRecord:
    moment = datetime.fromisoformat(values["at"])
    return UsageRecord(**{**values, "at": moment, "usage": Usage(**values["usage"])})


def _read(path: Path) -> FinishedTask | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        events = [
            Event(**{**event, "at": datetime.fromisoformat(event["at"])})
            for event in values["batch"]["events"]
        ]
        batch = EventBatch(tuple(events), values["batch"]["after"])
        status = TaskStatus(values["status"])
        turn = _read_turn(values["turn"]) if values.get("turn") else None
        return FinishedTask(**{**values, "status": status, "batch": batch, "turn": turn})
    except (ValueError, KeyError, TypeError):
        return None
