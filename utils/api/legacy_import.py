"""Reads the task export of the backend that this one replaces.

The export is an object of tasks by id, an array of tasks, or either under the key `tasks`. Keys
may be missing. Credentials in addresses are removed, and so are characters that databases reject.

SQLite's JSON functions take the upload apart: they do it without the interpreter's lock, and parts
that are not imported never become Python objects.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from threading import BoundedSemaphore
from typing import Any

from flask import request

from utils.agents.registry import AGENT_NAMES, DEFAULT_AGENT
from utils.api.requests import MAX_TEXT_CHARACTERS
from utils.database.shared import MAX_CHAT_MESSAGES
from utils.database.types import sanitize
from utils.errors import InvalidInput, RateLimited
from utils.models.tasks import TERMINAL_STATUSES, Json, TaskStatus

# An import holds all rows in memory and writes them in one transaction.
MAX_TASKS = 5_000
MAX_MESSAGES = 100_000
MAX_CHANGED_FILES = 10_000
MAX_IMPORTS = 1
"""Imports that are read at the same time; more would take the processors from everybody else."""

RETRY_AFTER_SECONDS = 10

_MAX_ID_CHARACTERS = 200
_MAX_LINE_CHARACTERS = 2_000
_MAX_ERROR_CHARACTERS = 10_000
_MAX_NORMALIZED_CHARACTERS = 100_000
_MAX_ENTRIES = 2 * MAX_TASKS  # some may have the same id

_USERINFO = re.compile(r"(?<=//)[^/@]*@")
_SHAPES = (
    "Upload the task export of the old backend as JSON: an object of tasks by id, an array of "
    "tasks, or either of them under the key tasks."
)
_LINES = ("id", "status", "repo_url", "branch", "target_branch", "model", "agent", "created_at",
          "completed_at", "commit_hash", "container_id")  # fmt: skip
_TEXTS = ("prompt", "error", "git_diff", "git_patch")
_FIELDS = (*_LINES, *_TEXTS)

# Values are read as JSON, because SQLite ends a text at a NUL character.
_SCALARS = "SELECT " + ", ".join(
    f"CASE WHEN json_type(:task, '$.{name}') NOT IN ('array', 'object') "
    f"THEN :task -> '$.{name}' END"
    for name in _FIELDS
)
_ENTRIES = "SELECT key, type, value FROM json_each(:document, :path) LIMIT :most"
_ROOT = """
    SELECT json_type(:document), iif(
        json_type(:document) = 'object'
        AND json_type(:document, '$.tasks') IN ('array', 'object'), '$.tasks', '$')
    WHERE json_valid(:document)
"""
_MESSAGES = """
    SELECT value -> '$.content', value ->> '$.role',
        CASE WHEN json_type(value, '$.timestamp') NOT IN ('array', 'object')
        THEN value -> '$.timestamp' END
    FROM json_each(:task, '$.chat_messages')
    WHERE type = 'object' AND json_type(value, '$.content') = 'text'
    LIMIT :most
"""
_ARRAY = "SELECT iif(json_type(:task, :path) = 'array', :task -> :path, NULL)"

_places = BoundedSemaphore(MAX_IMPORTS)


def read_upload(limit: int) -> bytes:
    """Return the upload of the current request: the form field `file`, or the whole body.

    Raises `InvalidInput` for a form without that field.
    """
    request.max_content_length = limit
    if request.mimetype == "multipart/form-data":
        file = request.files.get("file")
        if file is None:
            raise InvalidInput(f"The form has no field named file. {_SHAPES}")
        return bytes(file.read())
    return request.get_data(cache=False)


def read_legacy_tasks(content: bytes) -> list[Json]:
    """Return rows for `Database.import_tasks`; of tasks with the same id only the first.

    Raises `InvalidInput` for other content, `too_many_tasks` above `MAX_TASKS`, and `RateLimited`
    while other imports are read.
    """
    try:
        with importing(), closing(sqlite3.connect(":memory:")) as connection:
            connection.text_factory = lambda text: text.decode("utf-8", "surrogatepass")
            return _Export(connection, content.decode("utf-8-sig")).rows()
    except (ValueError, RecursionError, sqlite3.Error) as error:
        raise InvalidInput(f"The upload is not JSON. {_SHAPES}", "invalid_json") from error


@contextmanager
def importing() -> Iterator[None]:
    """Count an import during the block. Raises `RateLimited` above `MAX_IMPORTS`."""
    if not _places.acquire(blocking=False):
        raise RateLimited(
            "Other imports are running. Try again in a moment.",
            "imports_running",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        )
    try:
        yield
    finally:
        _places.release()


class _Export:
    """The tasks of an export."""

    def __init__(self, connection: sqlite3.Connection, document: str) -> None:
        self._connection = connection
        self._document = document
        self._messages = 0

    def rows(self) -> list[Json]:
        """Return a row for each task."""
        now = datetime.now(UTC)
        rows: dict[str, Json] = {}
        for key, task in self._entries():
            fields = self._fields(task)
            legacy_id = _legacy_id(key, fields.pop("id"), task)
            if legacy_id not in rows:
                rows[legacy_id] = _row(legacy_id, sanitize(fields), now)
            if len(rows) > MAX_TASKS:
                raise _too_much(f"more than {MAX_TASKS:,} tasks")
        return list(rows.values())

    def _entries(self) -> Iterator[tuple[str | int, str]]:
        document = {"document": self._document}
        root = self._connection.execute(_ROOT, document).fetchone()
        if root is None:
            raise InvalidInput(f"The upload is not JSON. {_SHAPES}", "invalid_json")
        kind, path = root
        if kind not in ("array", "object"):
            raise InvalidInput(_SHAPES, "invalid_json")
        query = {**document, "path": path, "most": _MAX_ENTRIES + 1}
        found = self._connection.execute(_ENTRIES, query).fetchall()
        if len(found) > _MAX_ENTRIES:
            raise _too_much(f"more than {_MAX_ENTRIES:,} entries")
        for key, kind, task in found:
            if kind != "object":
                raise InvalidInput(f"A task in the upload is not an object. {_SHAPES}")
            yield key, task

    def _fields(self, task: str) -> Json:
        values = self._connection.execute(_SCALARS, {"task": task}).fetchone()
        fields = {name: _scalar(value) for name, value in zip(_FIELDS, values, strict=True)}
        for name in _LINES:
            if isinstance(fields[name], str):
                fields[name] = fields[name][:_MAX_LINE_CHARACTERS]
        fields["changed_files"] = self._changed_files(task)
        fields["chat_messages"] = self._chat_messages(task)
        return fields

    def _changed_files(self, task: str) -> Any:
        query = {"task": task, "path": "$.changed_files"}
        (names,) = self._connection.execute(_ARRAY, query).fetchone()
        # Names with commas are rare, nested values are none.
        if names is None or names.count(",") + names.count("[") > MAX_CHANGED_FILES:
            return None
        return json.loads(names)

    def _chat_messages(self, task: str) -> list[Json]:
        query = {"task": task, "most": MAX_CHAT_MESSAGES}
        rows = self._connection.execute(_MESSAGES, query).fetchall()
        self._messages += len(rows)
        if self._messages > MAX_MESSAGES:
            raise _too_much(f"more than {MAX_MESSAGES:,} messages")
        return [
            {"content": _scalar(content), "role": role, "timestamp": _scalar(timestamp)}
            for content, role, timestamp in rows
        ]


def _too_much(what: str) -> InvalidInput:
    return InvalidInput(
        f"The upload has {what}; this is the limit of one import. Split the file and upload its "
        "parts.",
        "too_many_tasks",
    )


def _scalar(text: str | None) -> Any:
    # Longer numbers are refused by Python.
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return None


def _legacy_id(key: str | int, given: Any, task: str) -> str:
    if given is None and isinstance(key, str):
        given = key
    if isinstance(given, str | int) and str(given):
        return str(sanitize(str(given)))[:_MAX_ID_CHARACTERS]
    # A task without an id is recognized by its content if it is imported again.
    if len(task) <= _MAX_NORMALIZED_CHARACTERS:
        task = json.dumps(json.loads(task), sort_keys=True)
    return hashlib.sha256(task.encode(errors="surrogatepass")).hexdigest()


def _row(legacy_id: str, task: Json, now: datetime) -> Json:
    created_at = _moment(task["created_at"]) or now
    status = _status(task["status"])
    completed_at = _moment(task["completed_at"]) or created_at
    row = {
        "status": status,
        "agent": _agent(task["model"] or task["agent"]),
        "repo_url": _USERINFO.sub("", _text(task["repo_url"]) or ""),
        "target_branch": _text(task["branch"] or task["target_branch"]) or "main",
        "chat_messages": _chat_messages(task, created_at),
        "changed_files": _texts(task["changed_files"]),
        "error": (_text(task["error"]) or "")[:_MAX_ERROR_CHARACTERS] or None,
        "created_at": created_at,
        "updated_at": completed_at,
        "completed_at": completed_at,
        "execution_metadata": {"legacy_id": legacy_id},
        "commit_hash": _text(task["commit_hash"]),
        "container_id": _text(task["container_id"]),
        "git_diff": _text(task["git_diff"]),
        "git_patch": _text(task["git_patch"]),
    }
    if status != task["status"]:
        row |= {
            "error": row["error"] or "The old backend stopped before this task ended.",
            "error_code": "interrupted",
        }
    return row


def _status(value: Any) -> TaskStatus:
    ended = isinstance(value, str) and value in TERMINAL_STATUSES
    return TaskStatus(value) if ended else TaskStatus.FAILED


def _agent(value: Any) -> str:
    return value if value in AGENT_NAMES else DEFAULT_AGENT


def _moment(value: Any) -> datetime | None:
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: Any) -> list[str] | None:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else None


def _chat_messages(task: Json, created_at: datetime) -> list[Json]:
    prompt = {"role": "user", "content": _text(task["prompt"]) or ""}
    return [_chat_message(message, created_at) for message in task["chat_messages"] or [prompt]]


def _chat_message(message: Json, created_at: datetime) -> Json:
    moment = _moment(message.get("timestamp")) or created_at
    role = message.get("role")
    return {
        "role": role if role in ("user", "assistant") else "assistant",
        "content": message["content"][:MAX_TEXT_CHARACTERS],
        "timestamp": moment.isoformat(),
    }
