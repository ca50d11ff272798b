"""Frozen values that travel between the layers. No behaviour beyond what a value needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from utils.errors import TaskError

Json = dict[str, Any]

PROMPT_PREVIEW_CHARACTERS = 200


class TaskStatus(StrEnum):
    """Where a task is. A queued task stays `pending`; there is no other value."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL_STATUSES = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})
ACTIVE_STATUSES = frozenset({TaskStatus.PENDING, TaskStatus.RUNNING})


class Stage(StrEnum):
    """What a task is doing, in this order."""

    QUEUED = "queued"
    CLONING = "cloning"
    AGENT = "agent"
    CAPTURING = "capturing"


@dataclass(frozen=True, slots=True)
class NewTask:
    """What a client, or a webhook's `delivery`, asked for; `encrypted_token` is Fernet's."""

    prompt: str
    repo_url: str
    branch: str
    agent: str
    project_id: int | None = None
    encrypted_token: bytes | None = None
    agent_model: str | None = None
    delivery: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A row of `tasks`.

    `git_diff` and `git_patch` are None both when there are none and when the read left them out
    (only `get_task` loads them); `has_patch` is right in every case. `changed_files` are paths.
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

    @property
    def agent_model(self) -> str | None:
        """The model that the task asked its agent for, while it has not ended."""
        return (self.execution_metadata or {}).get("agent_model")

    @property
    def prompt(self) -> str:
        """The prompt, as it was posted."""
        return str(self.chat_messages[0]["content"]) if self.chat_messages else ""


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """One line of a task list. `prompt_preview` holds at most 200 characters of the prompt."""

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


@dataclass(frozen=True, slots=True)
class TaskPage:
    """Some summaries, newest first; `next_cursor` is the id to continue below, None at the end."""

    tasks: tuple[TaskSummary, ...]
    total: int
    next_cursor: int | None


@dataclass(frozen=True, slots=True)
class QueuedTask:
    """What recovery needs to know of an unfinished task."""

    id: int
    user_id: str
    status: TaskStatus
    attempt: int
    stage: str | None


@dataclass(frozen=True, slots=True)
class ClaimedTask:
    """Everything the database knows that is needed to do a task.

    `ciphertext` is the task's own token, `user_token` the one its user has stored, as `Profile`
    has it; `last_sequence` the number of the newest event, 0 without any.
    """

    task: Task
    ciphertext: bytes | None = field(repr=False)
    user_token: str | None = field(repr=False)
    last_sequence: int
    preferences: Json = field(repr=False)
    project_settings: Json


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a server sees when it shows that it works.

    `others` counts how often each other server has done so; `stops` are the tasks that run here
    and that somebody asked another server to stop.
    """

    others: dict[str, int]
    stops: list[int]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a task. `sequence` is given by the database, from 1 upwards.

    `kind` is one of status, message, tool, output, usage, error, result; `data` depends on it:
    status {stage} or {text}, message {text}, tool {name, ...}, output {text, stream},
    usage {input_tokens, output_tokens, ...}, error {code, message}, result {text}.
    """

    kind: str
    data: Json
    at: datetime
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Events to append, numbered by the database.

    `after` is the number of the last stored event that their only writer knows of. What is stored
    beyond it is then the beginning of this batch and is skipped, so a batch whose answer was lost
    may be sent again, also with more at its end. Without it all are appended.
    """

    events: tuple[Event, ...] = ()
    after: int | None = None


NO_EVENTS = EventBatch()


@dataclass(frozen=True, slots=True)
class AgentRun:
    """What another process needs to go on with a run whose agent was started.

    `stage_seconds` are the stages before the agent; `position` says which events of the agent's
    output are stored, see `utils.pipeline.agent_output`; `resumes` how often another process has
    gone on with it since `position` last moved.
    """

    task_id: int
    sandbox_id: str
    base_commit: str
    agent_started_at: datetime
    stage_seconds: dict[str, float]
    position: Json
    resumes: int = 0


KILLED = 137
"""The exit code of a command that SIGKILL ended; see `CommandResult`."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended. `exit_code` is 128 + N when signal N ended it, as shells have it."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        """Whether the command ended by itself with exit code 0."""
        return self.exit_code == 0 and not self.timed_out


@dataclass(frozen=True, slots=True)
class Job:
    """What the pipeline needs to run one task; `git_token` never leaves the clone."""

    task_id: int
    prompt: str
    repo_url: str
    branch: str
    agent: str
    agent_model: str | None = None
    git_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class FileChange:
    """One changed file with its contents, or a marker in place of either side."""

    filename: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What a task changed, captured against `base_commit`.

    `patch` is mail-formatted (`git am`), `diff` is `git diff --binary`; both are None when there
    are no changes or when they are larger than the limit, which `notes` then says.
    """

    base_commit: str
    commit_hash: str
    tree_hash: str
    diff: str | None
    patch: str | None
    changed_files: tuple[str, ...]
    file_changes: tuple[FileChange, ...]
    additions: int
    deletions: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StageTiming:
    """Seconds spent in one stage."""

    stage: Stage
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the pipeline returns. `failure` and `changes` may both be set: a partial result."""

    changes: Changes | None
    summary: str | None
    agent_exit_code: int | None
    timings: tuple[StageTiming, ...]
    failure: TaskError | None = None
    agent_details: Json = field(default_factory=dict)
