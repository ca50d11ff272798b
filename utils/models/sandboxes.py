"""Frozen values of recorded sandboxes and of what was done in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from utils.models.tasks import Json


class SandboxStatus(StrEnum):
    """The states of a sandbox. One that is `created` is being opened."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    TERMINATED = "terminated"
    ERROR = "error"


LIVE_SANDBOXES = frozenset({SandboxStatus.CREATED, SandboxStatus.RUNNING, SandboxStatus.PAUSED})
"""The states of sandboxes that exist at their provider, or are about to."""


@dataclass(frozen=True, slots=True)
class StoredSandbox:
    """A row of `sandboxes`.

    `provider_id` is the provider's name of the sandbox, None until it is open. `task_id` is set for
    the sandbox of a task, `project_id` if that belongs to a project. `running_ms` counts the time
    before `running_since`, which is set while the sandbox runs.
    """

    id: int
    user_id: str
    task_id: int | None
    project_id: int | None
    provider: str
    provider_id: str | None
    server: str | None
    template: str | None
    repositories: list[Json]
    status: SandboxStatus
    commands: int
    running_ms: int
    running_since: datetime | None
    error: str | None
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    paused_at: datetime | None
    ended_at: datetime | None

    @property
    def is_live(self) -> bool:
        """True when the sandbox has not ended."""
        return self.status in LIVE_SANDBOXES

    def running_ms_at(self, moment: datetime) -> int:
        """Return how long it has run until then in milliseconds, without its pauses."""
        if self.running_since is None:
            return self.running_ms
        seconds = (moment - self.running_since).total_seconds()
        return self.running_ms + max(int(seconds * 1000), 0)


@dataclass(frozen=True, slots=True)
class NewSandbox:
    """A sandbox that a user has asked for; it is opened next."""

    provider: str
    expires_at: datetime
    template: str | None = None
    repositories: list[Json] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TaskSandbox:
    """The open sandbox of a task."""

    task_id: int
    provider: str
    provider_id: str
    template: str | None
    repositories: list[Json]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SandboxOperation:
    """A row of `sandbox_operations`, without its number: what a user did in a sandbox.

    `command` is redacted and cut. `duration_ms` is None for what was refused.
    """

    sandbox_id: int
    user_id: str
    kind: str
    created_at: datetime
    command: str | None = None
    exit_code: int | None = None
    duration_ms: int | None = None
    error_code: str | None = None


@dataclass(frozen=True, slots=True)
class StoredOperation(SandboxOperation):
    """A row of `sandbox_operations`."""

    id: int = 0
