"""Runs that the task engine gives to workers, and the workers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from utils.models.tasks import QueuedTask, RunningTurn


@dataclass(frozen=True, slots=True)
class EngineRun:
    """A run that a worker has claimed: one attempt of the engine at an unfinished task.

    `id` is stored as the `server` of the task, which fences all writes on it. `attempt` counts the
    workers that have lost the task since its admission, plus one; attempts of the task are another
    number. A run that was put off has another `id` when it is claimed again.
    """

    id: str
    attempt: int
    task: QueuedTask


@dataclass(frozen=True, slots=True)
class EngineBeat:
    """The answer to the beat of a worker: its runs that are not fine, by their ids.

    `cancelled` are to be stopped for their user, `lost` belong to another worker or to nobody now.
    `interrupted` are running turns that a message interrupts.
    """

    cancelled: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    interrupted: list[RunningTurn] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The answer to a server that would use the task engine, and who else is at work.

    `version` is that of the engine, None where it is not installed. `workers` are those that were
    seen lately. `servers` are those that run their own tasks, with the numbers of their heartbeats.
    """

    uses_engine: bool
    version: str | None
    workers: list[str]
    servers: dict[str, int]


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that works on tasks, as it described itself last.

    One that `is_draining` takes no more tasks, because an administrator has asked it to.
    """

    name: str
    version: str
    places: int
    running: int
    waiting_reason: str | None
    started_at: datetime
    seen_at: datetime
    is_draining: bool = False
