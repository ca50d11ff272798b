"""Reads the task export of the backend that this one replaces.

The export is an object of tasks by id, an array of tasks, or either under the key `tasks`. Keys
may be missing. Credentials in addresses are removed, and so are characters that databases reject.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from flask import request

from utils.agents.registry import AGENT_NAMES, DEFAULT_AGENT
from utils.database.types import sanitize
from utils.errors import InvalidInput
from utils.models.tasks import TERMINAL_STATUSES, Json, TaskStatus

# An import holds all rows in memory and writes them in one transaction.
MAX_TASKS = 5_000

_USERINFO = re.compile(r"(?<=//)[^/@]*@")
_SHAPES = (
    "Upload the task export of the old backend as JSON: an object of tasks by id, an array of "
    "tasks, or either of them under the key tasks."
)
_TEXTS = ("commit_hash", "git_diff", "git_patch", "container_id")


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

    Raises `InvalidInput` for other content, and `too_many_tasks` above `MAX_TASKS`.
    """
    now = datetime.now(UTC)
    tasks: dict[str, Json] = {}
    try:
        for legacy_id, task in _entries(json.loads(content)):
            tasks.setdefault(legacy_id, task)
        if len(tasks) > MAX_TASKS:
            raise InvalidInput(
                f"The upload has {len(tasks):,} tasks; one import takes at most {MAX_TASKS:,}. "
                "Split the file and upload its parts.",
                "too_many_tasks",
            )
        return [_row(legacy_id, sanitize(task), now) for legacy_id, task in tasks.items()]
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"The upload is not JSON. {_SHAPES}", "invalid_json") from error


def _entries(payload: Any) -> Iterator[tuple[str, Json]]:
    if isinstance(payload, dict) and isinstance(payload.get("tasks"), dict | list):
        payload = payload["tasks"]
    if isinstance(payload, dict):
        pairs = [(key, task) for key, task in payload.items()]
    elif isinstance(payload, list):
        pairs = [(None, task) for task in payload]
    else:
        raise InvalidInput(_SHAPES)
    for key, task in pairs:
        if not isinstance(task, dict):
            raise InvalidInput(f"A task in the upload is not an object. {_SHAPES}")
        yield _legacy_id(key, task), task


def _legacy_id(key: str | None, task: Json) -> str:
    given = task.get("id", key)
    if isinstance(given, str | int) and str(given):
        return str(sanitize(str(given)))[:200]
    # A task without an id is recognized by its content if it is imported again.
    return hashlib.sha256(json.dumps(task, sort_keys=True).encode()).hexdigest()


def _row(legacy_id: str, task: Json, now: datetime) -> Json:
    created_at = _moment(task.get("created_at")) or now
    status = _status(task.get("status"))
    completed_at = _moment(task.get("completed_at")) or created_at
    row = {
        "status": status,
        "agent": _agent(task.get("model") or task.get("agent")),
        "repo_url": _USERINFO.sub("", _text(task.get("repo_url")) or ""),
        "target_branch": _text(task.get("branch") or task.get("target_branch")) or "main",
        "chat_messages": _chat_messages(task, created_at),
        "changed_files": _texts(task.get("changed_files")),
        "error": _text(task.get("error")),
        "created_at": created_at,
        "updated_at": completed_at,
        "completed_at": completed_at,
        "execution_metadata": {"legacy_id": legacy_id},
        **{name: _text(task.get(name)) for name in _TEXTS},
    }
    if status != task.get("status"):
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
    given = task.get("chat_messages")
    messages = [
        _chat_message(message, created_at)
        for message in (given if isinstance(given, list) else [])
        if isinstance(message, dict) and isinstance(message.get("content"), str)
    ]
    prompt = {"role": "user", "content": _text(task.get("prompt")) or ""}
    return messages or [_chat_message(prompt, created_at)]


def _chat_message(message: Json, created_at: datetime) -> Json:
    moment = _moment(message.get("timestamp")) or created_at
    role = message.get("role")
    return {
        "role": role if role in ("user", "assistant") else "assistant",
        "content": message["content"],
        "timestamp": moment.isoformat(),
    }
