"""Maps rows to values: the columns that each kind of value is read from, and conversions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, case, func, literal_column, null, select, type_coerce

from utils.database.schema import (
    api_keys,
    projects,
    task_events,
    task_repositories,
    task_turns,
    tasks,
    users,
)
from utils.database.types import Document, json_number, json_size
from utils.models.engine import EngineBeat, EngineRun
from utils.models.events import Event
from utils.models.repositories import TaskRepository
from utils.models.tasks import (
    ACTIVE_STATUSES,
    PROMPT_PREVIEW_CHARACTERS,
    Json,
    Mode,
    QueuedTask,
    RunningTurn,
    Task,
    TaskStatus,
    TaskSummary,
)
from utils.models.turns import Turn, TurnStatus
from utils.models.users import ApiKey, Profile, Project, User

PROFILE_COLUMNS = tuple(users.c[name] for name in Profile.__dataclass_fields__)
USER_COLUMNS = tuple(users.c[name] for name in User.__dataclass_fields__)
API_KEY_COLUMNS = tuple(
    api_keys.c[name] for name in ApiKey.__dataclass_fields__ if name in api_keys.c
)

SUMMARY_COLUMNS: tuple[ColumnElement[Any], ...] = (
    *(tasks.c[name] for name in TaskSummary.__dataclass_fields__ if name in tasks.c),
    json_number(tasks.c.execution_summary, literal_column("'cost_usd'")).label("cost_usd"),
)

POLLED_CONVERSATION_BYTES = 32_768
LISTED_CONVERSATION_BYTES = 8_192
"""Sizes up to which a conversation is part of a status, and of each task in a project's list."""

TASK_COLUMNS = tuple(tasks.c[name] for name in Task.__dataclass_fields__ if name in tasks.c)

WIDE_COLUMNS = frozenset({"git_diff", "git_patch", "execution_metadata"})
STATUS_COLUMNS: tuple[ColumnElement[Any], ...] = (
    *(column for column in TASK_COLUMNS if column.name not in WIDE_COLUMNS),
    tasks.c.execution_summary.label("execution_metadata"),
)


def _without_long_conversation(most_bytes: int) -> Iterator[ColumnElement[Any]]:
    for column in STATUS_COLUMNS:
        if column.name == "chat_messages":
            size = json_size(tasks.c.chat_messages)
            short = case((size <= most_bytes, tasks.c.chat_messages), else_=null())
            yield type_coerce(short, Document).label(column.name)
        else:
            yield column


_is_long = json_size(tasks.c.chat_messages) > POLLED_CONVERSATION_BYTES
POLLED_COLUMNS = (
    *_without_long_conversation(POLLED_CONVERSATION_BYTES),
    case((_is_long, tasks.c.chat_messages[0]), else_=null()).label("first_message"),
)
"""The columns of a status: of a long conversation only the prompt."""

LISTED_COLUMNS = (
    *_without_long_conversation(LISTED_CONVERSATION_BYTES),
    tasks.c.prompt_preview,
    tasks.c.prompt_characters,
)
"""The columns of a task in a project's list: of a long conversation only the prompt's beginning."""

TURN_COLUMNS = tuple(task_turns.c[name] for name in Turn.__dataclass_fields__)

REPOSITORY_COLUMNS = tuple(
    task_repositories.c[name] for name in TaskRepository.__dataclass_fields__
)

TASK_MARKS = select(
    tasks.c.id,
    tasks.c.user_id,
    tasks.c.updated_at,
    select(func.coalesce(func.max(task_events.c.sequence), 0))
    .where(task_events.c.task_id == tasks.c.id)
    .correlate(tasks)
    .scalar_subquery()
    .label("last_sequence"),
)
"""Selects the marks of tasks; callers add the condition."""

EVENT_COLUMNS = tuple(task_events.c[name] for name in Event.__dataclass_fields__)

TASK_COUNTERS = (
    func.count(tasks.c.id).label("task_count"),
    func.count(tasks.c.id).filter(tasks.c.status == TaskStatus.COMPLETED).label("completed_tasks"),
    func.count(tasks.c.id).filter(tasks.c.status.in_(ACTIVE_STATUSES)).label("active_tasks"),
)
PROJECTS = (
    select(
        *(projects.c[name] for name in Project.__dataclass_fields__ if name in projects.c),
        *TASK_COUNTERS,
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
    """Return the task of a row with `STATUS_COLUMNS` or `TASK_COLUMNS`."""
    return Task(**row._mapping)


def turn_from_row(row: Mapping[Any, Any]) -> Turn:
    """Return the turn of a row with `TURN_COLUMNS`."""
    kinds = {"mode": Mode(row["mode"]), "status": TurnStatus(row["status"])}
    return Turn(**{**row, **kinds})


def polled_task(row: Mapping[Any, Any]) -> Task:
    """Return the task of a row with `POLLED_COLUMNS`."""
    values = dict(row)
    first = values.pop("first_message")
    if values["chat_messages"] is None:
        values |= {"chat_messages": [first] if first else [], "conversation_cut": True}
    return Task(**values)


def listed_task(row: Mapping[Any, Any]) -> Task:
    """Return the task of a row with `LISTED_COLUMNS`."""
    values = dict(row)
    preview, characters = values.pop("prompt_preview"), values.pop("prompt_characters")
    if values["chat_messages"] is None:
        prompt = f"{preview}..." if characters > len(preview) else preview
        message = chat_message("user", prompt, values["created_at"])
        values |= {"chat_messages": [message], "conversation_cut": True}
    return Task(**values)


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


def engine_run(run: Json) -> EngineRun:
    """Return a run as `engine_claim` describes it."""
    task = run["task"]
    queued = QueuedTask(**task | {"status": TaskStatus(task["status"])})
    return EngineRun(run["id"], run["attempt"], queued)


def engine_beat(answer: Json) -> EngineBeat:
    """Return the answer of `engine_beat`."""
    interrupted = [RunningTurn(**turn) for turn in answer["interrupted"]]
    return EngineBeat(answer["cancelled"], answer["lost"], interrupted)
