"""Response schemas as typed dictionaries: mypy checks them, `utils/api/openapi` reads them.

They cost no time at run time. `Time` is a datetime and is sent as ISO 8601 with a time zone.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from utils.api.schemas.repositories import FullRepositoryRow, RepositoryRow
from utils.models.events import EventKind
from utils.models.tasks import Json

Success = Literal["success"]
Status = Literal["pending", "running", "completed", "failed", "cancelled"]
Time = Annotated[datetime, Field(json_schema_extra={"format": "date-time"})]


class ErrorAnswer(TypedDict):
    """An error: `error` is a message for people, `code` a stable name for programs."""

    error: str
    code: str


class ChatMessageRow(TypedDict):
    """A message in the conversation of a task. The first message is the prompt."""

    role: str
    content: str
    timestamp: str


class TaskRow(TypedDict):
    """A task as stored. `branch` and `model` repeat `target_branch` and `agent`."""

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
    group_id: NotRequired[int]
    chat_messages: list[ChatMessageRow]
    execution_metadata: Json | None
    created_at: Time
    updated_at: Time
    started_at: Time | None
    completed_at: Time | None


class FullTaskRow(TaskRow):
    """A task as stored, with its diff and its patch."""

    git_diff: str | None
    git_patch: str | None
    repositories: NotRequired[list[FullRepositoryRow]]


class TaskStatusRow(TypedDict):
    """The progress of a task. Fields without a value are omitted, never null.

    A conversation above 32 kB is omitted too, and `execution_metadata` never holds contents of
    files; /tasks/{task_id} returns both.
    """

    id: int
    status: Status
    prompt: str
    repo_url: str
    branch: str
    model: str
    agent: str
    has_patch: bool
    created_at: Time
    updated_at: Time
    chat_messages: NotRequired[list[ChatMessageRow]]
    project_id: NotRequired[int]
    group_id: NotRequired[int]
    stage: NotRequired[str]
    queue_position: NotRequired[int]
    waiting_reason: NotRequired[str]
    commit_hash: NotRequired[str]
    changed_files: NotRequired[list[str]]
    error: NotRequired[str]
    error_code: NotRequired[str]
    error_stage: NotRequired[str]
    auto_pr: NotRequired[bool]
    started_at: NotRequired[Time]
    completed_at: NotRequired[Time]
    execution_metadata: NotRequired[Json]
    repositories: NotRequired[list[RepositoryRow]]


class TaskChangeRow(TypedDict):
    """A task in the stream of changes. Fields without a value are omitted.

    A deleted task has only `id` and the status `deleted`.
    """

    id: int
    status: Status
    agent: str
    repo_url: str
    has_patch: bool
    created_at: Time
    updated_at: Time
    project_id: NotRequired[int]
    stage: NotRequired[str]
    error: NotRequired[str]
    pr_number: NotRequired[int]
    pr_url: NotRequired[str]
    completed_at: NotRequired[Time]


class TaskSummaryRow(TypedDict):
    """A task in a list. `prompt` is cut at 50 characters, the first chat message at 200."""

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
    group_id: NotRequired[int]
    cost_usd: NotRequired[float]
    chat_messages: list[ChatMessageRow]


class EventRow(TypedDict):
    """An event of a task. The form of `data` depends on `kind`; see docs/events.md."""

    sequence: int
    at: Time
    kind: EventKind
    data: Json


class TurnRow(TypedDict):
    """A turn of a task. Fields without a value are omitted, never null."""

    number: int
    prompt: str
    mode: Literal["run", "plan"]
    status: Literal["waiting", "running", "completed", "failed", "cancelled"]
    has_diff: bool
    created_at: Time
    started_at: NotRequired[Time]
    ended_at: NotRequired[Time]
    agent_exit_code: NotRequired[int]
    input_tokens: NotRequired[int]
    output_tokens: NotRequired[int]
    cost_usd: NotRequired[float]
    tree_before: NotRequired[str]
    tree_after: NotRequired[str]
    files: NotRequired[int]
    additions: NotRequired[int]
    deletions: NotRequired[int]
    error: NotRequired[str]
    error_code: NotRequired[str]


class ProjectRow(TypedDict):
    """A project with its task counts."""

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
    """A test user, for development only."""

    id: str
    email: str | None
    created_at: Time
    metadata: Json
    expires_at: Time | None


class TokenPair(TypedDict):
    """An access token with its lifetime in seconds, and the refresh token for the next pair."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"]
    expires_in: int
