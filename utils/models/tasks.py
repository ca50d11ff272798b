"""Frozen values of tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from utils.models.repositories import NewRepository

Json = dict[str, Any]

PROMPT_PREVIEW_CHARACTERS = 200


class TaskStatus(StrEnum):
    """The state of a task. A queued task is `pending`."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL_STATUSES = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})
ACTIVE_STATUSES = frozenset({TaskStatus.PENDING, TaskStatus.RUNNING})


class Stage(StrEnum):
    """The stages of a task, in order."""

    QUEUED = "queued"
    CLONING = "cloning"
    SETUP = "setup"
    """Only of tasks whose project has a setup."""
    AGENT = "agent"
    CAPTURING = "capturing"
    CHECKING = "checking"
    """Only of tasks with a check command."""


class Mode(StrEnum):
    """Tells whether the agent does what a turn asks for, or only says how it would do it."""

    RUN = "run"
    PLAN = "plan"


_PRIORITIES = {"low": -5, "normal": 0, "high": 5}

FOLLOW_UP_RANK = -100
"""The rank of a task whose next turn waits: before all new work of its user."""


def priority_number(priority: int | str) -> int:
    """Return the number of a priority, which may be given by its name."""
    return priority if isinstance(priority, int) else _PRIORITIES[priority]


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to create, for a client or for a webhook's `delivery`.

    `request_key` is the client's Idempotency-Key; the task is stored together with the answer.
    `encrypted_token` is the task's own git token as a Fernet ciphertext. `asked_in` is the place of
    the comment that asked for it. `check_command` runs after the capture. `group_attempt` numbers
    the tasks of one agent in a group, from 1. `further` are the repositories beside `repo_url`.
    With `auto_pr` its pull request is due when it completes. Of the waiting tasks of a user those
    with the highest `priority` start first. `schedule_id` and `scheduled_for` are the schedule that
    starts it and the moment, which starts no other task; of a group the first one has the moment.
    """

    prompt: str
    repo_url: str
    branch: str
    agent: str
    project_id: int | None = None
    encrypted_token: bytes | None = None
    agent_model: str | None = None
    delivery: str | None = None
    request_key: str | None = None
    asked_in: Json | None = None
    mode: Mode = Mode.RUN
    check_command: str | None = None
    group_attempt: int | None = None
    further: tuple[NewRepository, ...] = ()
    auto_pr: bool = False
    priority: int = 0
    schedule_id: int | None = None
    scheduled_for: str | None = None

    @property
    def queue_rank(self) -> int:
        """The place among the waiting tasks of the user; lower ones start first."""
        return -self.priority

    @property
    def repositories(self) -> int | None:
        """The number of repositories if there are several."""
        return 1 + len(self.further) if self.further else None


@dataclass(frozen=True, slots=True)
class Task:
    """A row of `tasks`.

    Only `get_task` loads `git_diff` and `git_patch`; other reads leave them None. `has_patch` is
    always set correctly. `changed_files` are paths. Until `workspace_until` the sandbox of
    `container_id` is kept for the next turn. With `conversation_cut` a long conversation was
    not read, and `chat_messages` holds only the prompt or its beginning.
    """

    id: int
    user_id: str
    project_id: int | None
    status: TaskStatus
    agent: str
    repo_url: str
    target_branch: str
    chat_messages: list[Json]
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    pr_branch: str | None = None
    pr_number: int | None = None
    pr_url: str | None = None
    pr_commit: str | None = None
    pr_state: str | None = None
    container_id: str | None = None
    commit_hash: str | None = None
    git_diff: str | None = None
    git_patch: str | None = None
    has_patch: bool = False
    changed_files: list[str] | None = None
    error: str | None = None
    error_code: str | None = None
    error_stage: str | None = None
    stage: str | None = None
    attempt: int = 0
    execution_metadata: Json | None = None
    workspace_until: datetime | None = None
    group_id: int | None = None
    conversation_cut: bool = False

    @property
    def agent_model(self) -> str | None:
        """The requested model of the agent."""
        return (self.execution_metadata or {}).get("agent_model")

    @property
    def first_mode(self) -> Mode:
        """The mode of the first turn."""
        # Rows of older backends may have any value here.
        wanted = (self.execution_metadata or {}).get("mode")
        return Mode.PLAN if wanted == Mode.PLAN else Mode.RUN

    @property
    def check_command(self) -> str | None:
        """The command that checks the result in its sandbox."""
        return (self.execution_metadata or {}).get("check_command")

    @property
    def auto_pr(self) -> bool:
        """True when the server opens the pull request of the completed task by itself."""
        return (self.execution_metadata or {}).get("auto_pr") is True

    @property
    def has_further_repositories(self) -> bool:
        """True when the task works in several repositories."""
        return bool((self.execution_metadata or {}).get("repositories"))

    @property
    def is_active(self) -> bool:
        """True when the task is queued or runs."""
        return self.status in ACTIVE_STATUSES

    @property
    def prompt(self) -> str:
        """The prompt as the client sent it."""
        return str(self.chat_messages[0]["content"]) if self.chat_messages else ""


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """One entry of a task list. `prompt_preview` holds at most 200 characters of the prompt."""

    id: int
    project_id: int | None
    status: TaskStatus
    agent: str
    repo_url: str
    target_branch: str
    prompt_preview: str
    prompt_characters: int
    has_patch: bool
    commit_hash: str | None
    error: str | None
    pr_number: int | None
    pr_url: str | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    group_id: int | None = None
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Conditions on listed tasks; None selects all. `text` is a part of the prompt's beginning."""

    status: TaskStatus | None = None
    agent: str | None = None
    repo_url: str | None = None
    text: str | None = None


ALL_TASKS = TaskFilter()


@dataclass(frozen=True, slots=True)
class TaskMark:
    """The marks by which a change of a task is seen.

    `last_sequence` is that of its newest event, or 0.
    """

    id: int
    user_id: str
    updated_at: datetime
    last_sequence: int


@dataclass(frozen=True, slots=True)
class TaskPage:
    """One page of summaries, newest first.

    The next page holds ids below `next_cursor`, which is None on the last page.
    """

    tasks: tuple[TaskSummary, ...]
    total: int
    next_cursor: int | None


@dataclass(frozen=True, slots=True)
class QueuedTask:
    """An unfinished task, with the columns that recovery reads."""

    id: int
    user_id: str
    status: TaskStatus
    attempt: int
    stage: str | None
    queue_rank: int = 0


@dataclass(frozen=True, slots=True)
class ActiveTask:
    """A queued or running task, as administrators see it: without its prompt."""

    id: int
    user_id: str
    project_id: int | None
    status: TaskStatus
    stage: str | None
    agent: str
    repo_url: str
    server: str | None
    container_id: str | None
    created_at: datetime
    started_at: datetime | None


class RunningTurn(NamedTuple):
    """A running turn of a task."""

    task_id: int
    number: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The answer to this server's heartbeat.

    `others` maps the name of each other server to the number of its heartbeats. `stops` are the
    tasks of this server that a user cancelled through another server, `interrupted` are its turns
    that a message interrupts.
    """

    others: dict[str, int]
    stops: list[int]
    interrupted: list[RunningTurn] = field(default_factory=list)
