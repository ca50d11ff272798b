"""What answers hold, as typed dictionaries: checked by mypy, read by `utils/api/openapi.py`.

They cost nothing when a request is answered. `Time` is a datetime; it leaves as ISO 8601 with a
zone.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from utils.models.tasks import Json

Success = Literal["success"]
Status = Literal["pending", "running", "completed", "failed", "cancelled"]
Time = Annotated[datetime, Field(json_schema_extra={"format": "date-time"})]


class ErrorAnswer(TypedDict):
    """What went wrong: `error` for people, `code` for programs."""

    error: str
    code: str


class ChatMessageRow(TypedDict):
    """One message of a task's conversation; the first one is the prompt."""

    role: str
    content: str
    timestamp: str


class TaskRow(TypedDict):
    """A task as it is stored. `branch` and `model` repeat `target_branch` and `agent`."""

    id: int
    user_id: str
    project_id: int | None
    status: Status
    agent: str
    model: str
    prompt: str
    repo_url: str
    target_branch: str
    branch: str
    pr_branch: str | None
    container_id: str | None
    commit_hash: str | None
    pr_number: int | None
    pr_url: str | None
    pr_state: str | None
    has_patch: bool
    changed_files: list[str] | None
    error: str | None
    error_code: str | None
    error_stage: str | None
    stage: str | None
    attempt: int
    chat_messages: list[ChatMessageRow]
    execution_metadata: Json | None
    created_at: Time
    updated_at: Time
    started_at: Time | None
    completed_at: Time | None


class FullTaskRow(TaskRow):
    """A task with its diff and its patch."""

    git_diff: str | None
    git_patch: str | None


class TaskStatusRow(TypedDict):
    """What changes while a task is worked on; a key without a value is left out, never null."""

    id: int
    status: Status
    prompt: str
    repo_url: str
    branch: str
    model: str
    agent: str
    chat_messages: list[ChatMessageRow]
    has_patch: bool
    created_at: Time
    updated_at: Time
    project_id: NotRequired[int]
    stage: NotRequired[str]
    queue_position: NotRequired[int]
    waiting_reason: NotRequired[str]
    commit_hash: NotRequired[str]
    changed_files: NotRequired[list[str]]
    error: NotRequired[str]
    error_code: NotRequired[str]
    error_stage: NotRequired[str]
    started_at: NotRequired[Time]
    completed_at: NotRequired[Time]
    execution_metadata: NotRequired[Json]


class TaskSummaryRow(TypedDict):
    """One line of a task list: the prompt is cut to 50 characters, the message to 200."""

    id: int
    status: Status
    created_at: Time
    updated_at: Time
    completed_at: Time | None
    prompt: str
    has_patch: bool
    project_id: int | None
    repo_url: str
    branch: str
    agent: str
    model: str
    commit_hash: str | None
    error: str | None
    pr_number: int | None
    pr_url: str | None
    chat_messages: list[ChatMessageRow]


class EventRow(TypedDict):
    """Something that happened in a task; `data` depends on `kind`."""

    sequence: int
    at: Time
    kind: str
    data: Json


class ProjectRow(TypedDict):
    """A project with its task counters."""

    id: int
    user_id: str
    name: str
    description: str | None
    repo_url: str
    repo_owner: str
    repo_name: str
    is_active: bool
    settings: Json
    task_count: int
    completed_tasks: int
    active_tasks: int
    created_at: Time
    updated_at: Time


class TestUserRow(TypedDict):
    """A user for development."""

    id: str
    email: str | None
    created_at: Time
    metadata: Json
    expires_at: Time | None


class TokenPair(TypedDict):
    """An access token, and the refresh token that gets the next pair; seconds until it expires."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"]
    expires_in: int
