"""Maps columns to values and builds values from rows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, case, func, or_, select

from utils.database.schema import projects, task_events, tasks, users
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
from utils.models.users import Profile, Project, User

PROFILE_COLUMNS = tuple(users.c[name] for name in Profile.__dataclass_fields__)
USER_COLUMNS = tuple(users.c[name] for name in User.__dataclass_fields__)

SUMMARY_COLUMNS = tuple(tasks.c[name] for name in TaskSummary.__dataclass_fields__)

WIDE_COLUMNS = frozenset({"git_diff", "git_patch", "execution_metadata"})
STATUS_COLUMNS: tuple[ColumnElement[Any], ...] = (
    *(tasks.c[name] for name in Task.__dataclass_fields__ if name not in WIDE_COLUMNS),
    tasks.c.execution_summary.label("execution_metadata"),
)
# Compared one by one: a list would be spelled out anew at every read, and this one is often read.
_ENDED = sorted(TERMINAL_STATUSES)
# The metadata as a whole once the task has ended; until then without what it does not have yet.
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
"""Projects with their counters, newest first; a caller adds whose."""


def now() -> datetime:
    """Return the moment, in UTC."""
    return datetime.now(UTC)


def columns_of(value: Any) -> dict[str, Any]:
    """Return the fields of a value as columns, without copying what they hold."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def task_from_row(row: Row[Any]) -> Task:
    """Return the value for `STATUS_COLUMNS` or `TASK_COLUMNS`."""
    return Task(**row._mapping)


def chat_message(role: str, content: str, timestamp: datetime) -> Json:
    """Return a message as clients read it."""
    return {"role": role, "content": content, "timestamp": timestamp.isoformat()}


def prompt_columns(prompt: str) -> dict[str, Any]:
    """Return what lists show of a prompt."""
    return {
        "prompt_preview": prompt[:PROMPT_PREVIEW_CHARACTERS],
        "prompt_characters": len(prompt),
    }


def json_object(value: Any) -> Json:
    """Return a JSON object; whatever else a client has stored in its place counts as empty."""
    return value if isinstance(value, dict) else {}
