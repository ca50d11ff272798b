"""Frozen values of the turns of a task: its prompt, and the messages that follow it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from utils.models.tasks import Json, Mode, Task, TaskStatus
from utils.models.usage import UsageRecord


class TurnStatus(StrEnum):
    """The state of a turn."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class NewTurn:
    """A turn to add. With `interrupts` the turn that runs now ends first.

    `encrypted_token` is a git token for the task as a Fernet ciphertext.
    """

    prompt: str
    mode: Mode = Mode.RUN
    interrupts: bool = False
    encrypted_token: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Turn:
    """A row of `task_turns`, without its diff.

    `tree_before` and `tree_after` are the trees of the files at its beginning and its end; `files`,
    `additions` and `deletions` count the changes between them. `interrupts` is the number of the
    turn that was running when this one was added to interrupt it.
    """

    number: int
    prompt: str
    mode: Mode
    status: TurnStatus
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    agent_exit_code: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    tree_before: str | None = None
    tree_after: str | None = None
    has_diff: bool = False
    files: int | None = None
    additions: int | None = None
    deletions: int | None = None
    error: str | None = None
    error_code: str | None = None
    error_stage: str | None = None
    interrupts: int | None = None


@dataclass(frozen=True, slots=True)
class TurnResult:
    """An ended turn with its own diff, as it is stored.

    If it `goes_on`, a next turn that waits may run; else that one ends as well. `usage` is what
    its run has used. `repositories` are the changed columns of the task's further repositories,
    each with its `position`.
    """

    turn: Turn
    git_diff: str | None = field(default=None, repr=False)
    goes_on: bool = False
    usage: UsageRecord | None = None
    repositories: Sequence[Json] = field(default=(), repr=False)


def first_turn(task: Task) -> TurnResult:
    """Return the first turn of a task that has no other one, as the task tells it."""
    metadata = task.execution_metadata or {}
    tree = metadata.get("tree_hash")
    turn = Turn(
        number=1,
        prompt=task.prompt,
        mode=task.first_mode,
        status=_STATUSES[task.status],
        created_at=task.created_at,
        started_at=task.started_at,
        ended_at=task.completed_at,
        agent_exit_code=_integer(metadata, "agent_exit_code"),
        **usage_of(metadata),
        tree_after=tree if isinstance(tree, str) else None,
        has_diff=bool(task.git_diff),
        files=_integer(metadata, "files_changed"),
        additions=_integer(metadata, "additions"),
        deletions=_integer(metadata, "deletions"),
        error=task.error,
        error_code=task.error_code,
        error_stage=task.error_stage,
    )
    return TurnResult(turn, task.git_diff)


def usage_of(details: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tokens and the cost that an agent has told, as fields of a turn."""
    usage = details.get("usage")
    tokens = usage if isinstance(usage, dict) else {}
    cost = details.get("cost_usd")
    return {
        "input_tokens": _integer(tokens, "input_tokens"),
        "output_tokens": _integer(tokens, "output_tokens"),
        "cost_usd": cost if isinstance(cost, int | float) else None,
    }


_COLUMN_LIMIT = 2**31

_STATUSES = {
    TaskStatus.PENDING: TurnStatus.WAITING,
    TaskStatus.RUNNING: TurnStatus.RUNNING,
    TaskStatus.COMPLETED: TurnStatus.COMPLETED,
    TaskStatus.FAILED: TurnStatus.FAILED,
    TaskStatus.CANCELLED: TurnStatus.CANCELLED,
}


def _integer(values: Mapping[str, Any], name: str) -> int | None:
    # Rows of older backends may have any value here.
    value = values.get(name)
    return value if isinstance(value, int) and abs(value) < _COLUMN_LIMIT else None
