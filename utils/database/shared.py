"""Limits, refusals and column values that the SQL and the Supabase gateway share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from utils.database.rows import columns_of, now, prompt_columns
from utils.database.schema import tasks
from utils.errors import Conflict, SandboxLimitReached, TaskArchived, Unauthenticated
from utils.models.events import NO_EVENTS, Event, EventBatch
from utils.models.sandboxes import NewSandbox, SandboxStatus
from utils.models.tasks import (
    FOLLOW_UP_RANK,
    TERMINAL_STATUSES,
    Json,
    Mode,
    NewTask,
    Task,
    TaskStatus,
)
from utils.models.turns import NewTurn, Turn, TurnResult, TurnStatus
from utils.models.usage import LARGEST_AMOUNT, Usage, UsageRecord

NO_USER = "There is no such user."
NO_PROJECT = "There is no such project."
NO_TASK = "There is no such task."
NO_REPOSITORY = "The task has no such repository. GET /tasks/{task_id} lists its repositories."
NO_GROUP = "There is no such group of tasks."
NOT_IN_GROUP = "The group has no such task. GET /task-groups/{group_id} lists its tasks."
TASK_ACTIVE = "The task has not ended yet. Cancel it, then delete it again."
NO_TURN = "The task has no turn with this number."
NO_SANDBOX = "There is no such sandbox."
NO_ROW = "There is no such row."
NO_SCHEDULE = "There is no such schedule."
NO_KEY = "There is no such API key."
NO_SECRET = "The project has no such secret."  # noqa: S105
USER_GONE = "This user no longer exists. Sign in again."
REFRESH_TOKEN_INVALID = "This refresh token is no longer valid. Sign in again."  # noqa: S105
NO_ANSWER = "The database did not respond. Try again."
PROJECT_EXISTS = "You already have a project for this repository."
ROW_EXISTS = "This row already exists."
NOT_UNICODE = "The text contains characters that are not valid Unicode."
VALUE_DOES_NOT_FIT = "A value is too large for its column. Send a smaller one."

MAX_CHAT_MESSAGES = 1_000
MAX_CHAT_CHARACTERS = 2_000_000

MAX_API_KEYS = 100
"""Maximum number of API keys of one user."""

MAX_PROJECT_SECRETS = 20
"""Maximum number of secrets of one project. The redactor searches all output for each of them."""

KEY_USE_PERIOD = timedelta(minutes=1)
"""Minimum time between two writes of the last use of an API key."""

REQUEST_KEY_RETENTION = timedelta(hours=24)
"""Time during which a repeated request with the same Idempotency-Key gets the same answer."""

REQUEST_KEY_LEASE = timedelta(seconds=60)
"""Time after which a request without an answer counts as broken off, so that it may run again."""

REQUEST_RETRY_SECONDS = 2

SANDBOX_RETRY_SECONDS = 30
"""Time after which a user at the limit of sandboxes may ask again."""

DELIVERY_RETENTION = timedelta(days=30)
"""GitHub can repeat a delivery for a shorter time only, so older ones may be deleted."""

AMOUNTS = tuple(Usage.__dataclass_fields__)
"""The columns of a record of usage that are summed up."""

ASKED_FIELDS = (
    *("agent_model", "asked_in", "auto_pr", "check_command", "group_attempt", "priority"),
    *("repositories", "schedule_id", "scheduled_for"),
)
"""Fields of `execution_metadata` that are stored with a new task, and kept with its result."""

NOT_IMPORTED = frozenset(
    {"id", "user_id", "has_patch", "execution_summary", "server", "stop_requested", "group_id"}
    | {"queue_rank"}
)
IMPORTED_COLUMNS = tuple(column.name for column in tasks.c if column.name not in NOT_IMPORTED)


NOT_IN_RECORDS = frozenset(
    {"task_id", "has_patch", "execution_summary", "server", "stop_requested", "queue_rank"}
)
"""Columns that the archive leaves out: they follow from the others, or from where a task ran."""


def task_archived(moment: datetime) -> TaskArchived:
    """Return the error for a task that is in the archive since then."""
    return TaskArchived(
        f"This task was archived on {moment:%Y-%m-%d} and is no longer in the database. Ask "
        "whoever runs the server for it."
    )


def conversation_full() -> Conflict:
    """Return the error for a chat message above the limits."""
    return Conflict(
        f"The conversation is full: a task can have {MAX_CHAT_MESSAGES:,} messages and "
        f"{MAX_CHAT_CHARACTERS:,} characters. Start a new task.",
        "conversation_full",
    )


def turn_started() -> Conflict:
    """Return the error for a turn that can no longer be taken back."""
    return Conflict(
        "This turn has started, so that it cannot be taken back. To end it, cancel the task, or "
        "send a message with interrupt: true.",
        "turn_started",
    )


def key_reused() -> Conflict:
    """Return the error for an Idempotency-Key that belongs to another request."""
    return Conflict(
        "This Idempotency-Key was sent with another request. Send a new key for a new request.",
        "idempotency_key_reused",
    )


def key_in_use() -> Conflict:
    """Return the error for an Idempotency-Key whose request still runs."""
    return Conflict(
        "The request with this Idempotency-Key is still running. Send it again in a moment.",
        "idempotency_key_in_use",
        retry_after_seconds=REQUEST_RETRY_SECONDS,
    )


def too_many_keys() -> Conflict:
    """Return the error for an API key above the limit."""
    return Conflict(
        f"You have {MAX_API_KEYS} API keys. Revoke one with DELETE /keys/<id> first.",
        "too_many_keys",
    )


def too_many_schedules(most: int) -> Conflict:
    """Return the error for a schedule above the limit."""
    return Conflict(
        f"You have {most} schedules, as many as allowed (MAX_SCHEDULES_PER_USER). Delete one with "
        "DELETE /schedules/<id> first.",
        "too_many_schedules",
    )


def too_many_secrets() -> Conflict:
    """Return the error for a secret above the limit."""
    return Conflict(
        f"The project has {MAX_PROJECT_SECRETS} secrets. Delete one first, with DELETE "
        "/projects/<id>/secrets/<name>.",
        "too_many_secrets",
    )


def too_many_sandboxes(most: int) -> SandboxLimitReached:
    """Return the error for a sandbox above the limit of its user."""
    return SandboxLimitReached(
        f"You have {most} sandboxes (MAX_SANDBOXES_PER_USER). End one with DELETE "
        "/v1/sandboxes/<id> first.",
        retry_after_seconds=SANDBOX_RETRY_SECONDS,
    )


def new_sandbox_values(new: NewSandbox, moment: datetime) -> dict[str, Any]:
    """Return the columns of a sandbox to insert that follow from the request alone."""
    return {
        **columns_of(new),
        "status": SandboxStatus.CREATED,
        "commands": 0,
        "running_ms": 0,
        "created_at": moment,
        "updated_at": moment,
    }


def account_refused(state: str) -> Unauthenticated:
    """Return the error for an account of Supabase that may not sign in; see migration 0007."""
    message, code = _ACCOUNT_STATES[state]
    return Unauthenticated(message, code)


_ACCOUNT_STATES = {
    "deleted": ("This account was deleted in Supabase. Sign up again.", "user_unknown"),
    "missing": ("This account no longer exists in Supabase. Sign up again.", "user_unknown"),
    "banned": ("This account is banned or closed in Supabase.", "user_banned"),
    "signed_out": (
        "This session has ended: you signed out, or your password was changed. Sign in to "
        "Supabase again.",
        "session_ended",
    ),
    "anonymous": (
        "This server does not accept anonymous users. Sign in to Supabase with an account.",
        "anonymous_not_allowed",
    ),
}


def last_event(status: TaskStatus, error_code: str | None) -> Event:
    """Return the event that tells readers of the log how a task has ended."""
    data = {"status": str(status), **({"error_code": error_code} if error_code else {})}
    return Event("status", data, now())


def events_of_move(to: TaskStatus, fields: Mapping[str, Any]) -> EventBatch:
    """Return the events of a move without a run: none, or the error and the end of the task."""
    if to not in TERMINAL_STATUSES:
        return NO_EVENTS
    code, message = fields.get("error_code"), fields.get("error")
    error = [Event("error", {"code": code, "message": message}, now())] if message else []
    return EventBatch((*error, last_event(to, code)))


def new_user_values(user_id: str, email: str | None) -> dict[str, Any]:
    """Return the columns of a user to insert."""
    moment = now()
    return {
        "id": user_id,
        "email": email,
        "metadata": {},
        "is_test_user": False,
        "created_at": moment,
        "updated_at": moment,
    }


def test_user_values(
    user_id: str, email: str, metadata: Json, expires_at: datetime
) -> dict[str, Any]:
    """Return the columns of a test user to insert."""
    marks = {"is_test_user": True, "metadata": metadata, "expires_at": expires_at}
    return new_user_values(user_id, email) | marks


def new_project_values(user_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a project to insert."""
    moment = now()
    defaults = {"settings": {}, "is_active": True, "created_at": moment, "updated_at": moment}
    return defaults | dict(fields) | {"user_id": user_id}


def new_task_values(new: NewTask) -> dict[str, Any]:
    """Return the columns of a task to insert that follow from the request alone."""
    return {
        "project_id": new.project_id,
        "agent": new.agent,
        "repo_url": new.repo_url,
        "target_branch": new.branch,
        "queue_rank": new.queue_rank,
        "execution_metadata": {
            name: value
            for name, value in (
                *((name, getattr(new, name)) for name in ASKED_FIELDS),
                ("mode", new.mode if new.mode is not Mode.RUN else None),
            )
            if value
        }
        or None,
        **prompt_columns(new.prompt),
    }


def new_repository_values(new: NewTask) -> list[dict[str, Any]]:
    """Return the columns of the further repositories of a task to insert, without the task."""
    return [
        {**columns_of(one), "position": position, "has_patch": False}
        for position, one in enumerate(new.further, start=1)
    ]


WITHOUT_ERROR: Json = {"last_error": None, "last_error_code": None, "refusals": 0}
"""The columns of a schedule that its user has changed."""

NEXT_TURN: Json = dict.fromkeys(
    ("stage", "started_at", "completed_at", "error", "error_code", "error_stage")
) | {"attempt": 0, "queue_rank": FOLLOW_UP_RANK}
"""The columns of a task that waits for its next turn."""


def turn_values(result: TurnResult) -> dict[str, Any]:
    """Return the columns of a turn without those that name its task."""
    return {**columns_of(result.turn), "git_diff": result.git_diff}


def new_turn_values(new: NewTurn) -> dict[str, Any]:
    """Return the columns of a turn to add that follow from the request alone."""
    return {
        "prompt": new.prompt,
        "mode": new.mode,
        "status": TurnStatus.WAITING,
        "has_diff": False,
    }


def usage_values(record: UsageRecord) -> dict[str, Any]:
    """Return the columns of a record of usage, cut to what sums can hold."""
    amounts = {name: getattr(record.usage, name) for name in AMOUNTS}
    return {
        "task_id": record.task_id,
        "run": record.run,
        "user_id": record.user_id,
        "project_id": record.project_id,
        "agent": record.agent,
        "day": record.day,
        "at": record.at,
        **{name: min(max(amount, 0), LARGEST_AMOUNT) for name, amount in amounts.items()},
    }


def as_left_by(turn: Turn) -> dict[str, Any]:
    """Return the columns of a task that ended with this turn."""
    return {
        "status": TaskStatus(turn.status),
        "stage": None,
        "error": turn.error,
        "error_code": turn.error_code,
        "error_stage": turn.error_stage,
        "started_at": turn.started_at,
        "completed_at": turn.ended_at,
    }


def without_message(messages: Sequence[Json], prompt: str) -> list[Json]:
    """Return a conversation without the last message of the user that has this text.

    The first message is the prompt of the task, and stays.
    """
    for place in range(len(messages) - 1, 0, -1):
        if (messages[place].get("role"), messages[place].get("content")) == ("user", prompt):
            return [*messages[:place], *messages[place + 1 :]]
    return list(messages)


def request_answer(tasks: Sequence[Task]) -> Json:
    """Return the answer to a request with an Idempotency-Key that has started these tasks."""
    first = tasks[0]
    if first.group_id is None:
        return {"task_id": first.id}
    return {
        "task_id": first.id,
        "task_ids": [task.id for task in tasks],
        "group_id": first.group_id,
    }


def new_group_values(new: NewTask) -> dict[str, Any]:
    """Return the columns of a group to insert, those of its first task."""
    return {
        "project_id": new.project_id,
        "prompt": new.prompt,
        "repo_url": new.repo_url,
        "branch": new.branch,
        "check_command": new.check_command,
    }


def imported_values(user_id: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a task that another backend exported."""
    moment = now()
    messages = row.get("chat_messages") or []
    prompt = str(messages[0]["content"]) if messages else ""
    given = {name: row.get(name) for name in IMPORTED_COLUMNS}
    return given | {
        "user_id": user_id,
        "chat_messages": messages,
        "attempt": row.get("attempt") or 0,
        "created_at": row.get("created_at") or moment,
        "updated_at": row.get("updated_at") or row.get("created_at") or moment,
        **prompt_columns(prompt),
    }
