"""Maps rows to values: the columns that each kind of value is read from, and conversions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, case, func, or_, select

from utils.database.schema import api_keys, projects, task_events, tasks, users
from utils.models.tasks import (
    ACTIVE_STATUSES,
    PROMPT_PREVIEW_CHARACTERS,
    TERMINAL_STATUSES,
    Event,
    Json,
    Task,
    TaskStatus,
    TaskSummary,
)
from utils.models.users import ApiKey, Profile, Project, User

PROFILE_COLUMNS = tuple(users.c[name] for name in Profile.__dataclass_fields__)
USER_COLUMNS = tuple(users.c[name] for name in User.__dataclass_fields__)
API_KEY_COLUMNS = tuple(
    api_keys.c[name] for name in ApiKey.__dataclass_fields__ if name in api_keys.c
)

SUMMARY_COLUMNS = tuple(tasks.c[name] for name in TaskSummary.__dataclass_fields__)

WIDE_COLUMNS = frozenset({"git_diff", "git_patch", "execution_metadata"})
STATUS_COLUMNS: tuple[ColumnElement[Any], ...] = (
    *(tasks.c[name] for name in Task.__dataclass_fields__ if name not in WIDE_COLUMNS),
    tasks.c.execution_summary.label("execution_metadata"),
)
# Compared one by one: `IN` with a list would be compiled again for each of these frequent reads.
_ENDED = sorted(TERMINAL_STATUSES)
# The complete metadata once the task has ended; until then the part without `file_changes`.
POLLED_COLUMNS = (
    *STATUS_COLUMNS[:-1],
    case(
        (or_(*(tasks.c.status == status for status in _ENDED)), tasks.c.execution_metadata),
        else_=tasks.c.execution_summary,
    ).label("execution_metadata"),
)
TASK_COLUMNS = tuple(tasks.c[name] for name in Task.__dataclass_fields__)

EVENT_COLUMNS = tuple(task_events.c[name] for name in Event.__dataclass_fields__)

_counters = (
    func.count(tasks.c.id).label("task_count"),
    func.count(tasks.c.id).filter(tasks.c.status == TaskStatus.COMPLETED).label("completed_tasks"),
    func.count(tasks.c.id).filter(tasks.c.status.in_(ACTIVE_STATUSES)).label("active_tasks"),
)
PROJECTS = (
    select(
        *(projects.c[name] for name in Project.__dataclass_fields__ if name in projects.c),
        *_counters,
    )
    .outerjoin_from(projects, tasks, tasks.c.project_id == projects.c.id)
    .group_by(projects.c.id)
    .order_by(projects.c.id.desc())
)
"""Selects projects with their counters, newest first; callers add the condition."""


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def columns_of(value: Any) -> dict[str, Any]:
    """Return the fields of a value as columns (a shallow copy)."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def task_from_row(row: Row[Any]) -> Task:
    """Return the task of a row with `STATUS_COLUMNS`, `POLLED_COLUMNS` or `TASK_COLUMNS`."""
    return Task(**row._mapping)


def chat_message(role: str, content: str, timestamp: datetime) -> Json:
    """Return a chat message in the form that is stored and sent to clients."""
    return {"role": role, "content": content, "timestamp": timestamp.isoformat()}


def prompt_columns(prompt: str) -> dict[str, Any]:
    """Return the columns of a prompt that task lists show."""
    return {
        "prompt_preview": prompt[:PROMPT_PREVIEW_CHARACTERS],
        "prompt_characters": len(prompt),
    }


def json_object(value: Any) -> Json:
    """Return the value if it is a JSON object, else an empty one; clients may store anything."""
    return value if isinstance(value, dict) else {}
