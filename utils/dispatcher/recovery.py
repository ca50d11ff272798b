"""Decides how unfinished tasks of an earlier process, or of an ended server, continue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

import structlog
from anyio import to_thread

from database import Database
from utils.config.settings import Settings
from utils.dispatcher.results import mark_failed
from utils.maintenance.cleanup import known_sandboxes
from utils.maintenance.periodic import run_periodically
from utils.models.events import NO_EVENTS
from utils.models.runs import AgentRun
from utils.models.tasks import QueuedTask, Stage, TaskStatus
from utils.sandboxes.protocol import SandboxProvider

SWEEP_SECONDS = 60.0
"""Longest pause between two sweeps of orphaned sandboxes."""

MAX_RESUMES = 10
"""Restarts in a row without progress after which a task fails: it may be their cause."""

MAX_LATE_RESUMES = 3
"""Restarts in all of a task whose agent has ended, or should have: only its result remains."""

LATE_RESUMES = "late_resumes"
"""Counts those restarts in the position of a run, where no later output resets the number."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UnfinishedTasks:
    """Unfinished tasks: `queued` start anew, oldest first; `resumable` have a running agent."""

    queued: list[QueuedTask] = field(default_factory=list)
    resumable: list[tuple[QueuedTask, AgentRun]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RecoveryRules:
    """Hold what decides how an unfinished task continues.

    `survives` tells whether sandboxes survive the process that opened them. `agent_seconds` is the
    longest time that an agent may take.
    """

    max_attempts: int
    survives: bool
    agent_seconds: float

    @classmethod
    def of(cls, settings: Settings, *, survives: bool) -> RecoveryRules:
        """Return the rules as the settings define them."""
        seconds = min(settings.agent_timeout_seconds, settings.sandbox_timeout_seconds)
        return cls(settings.max_attempts, survives, seconds)


def classify_unfinished(
    database: Database, tasks: Sequence[QueuedTask], rules: RecoveryRules
) -> UnfinishedTasks:
    """Sort claimed tasks into those to start anew and those to resume; fail the others.

    A running task is resumed if sandboxes survive a restart and its agent was started; otherwise
    it is queued again. A task fails when it was started `max_attempts` times, resumed
    `MAX_RESUMES` times without progress, or `MAX_LATE_RESUMES` times after its agent has ended or
    its `agent_seconds` were over. The sweep then ends its sandbox.
    """
    unfinished = UnfinishedTasks()
    for task in tasks:
        running = task.status is TaskStatus.RUNNING
        run = database.get_run(task.id) if running and rules.survives else None
        if run is None:
            if not running or _requeue(database, task, rules.max_attempts):
                unfinished.queued.append(task)
        elif resumed := _resumed(database, run, rules.agent_seconds):
            unfinished.resumable.append((task, resumed))
        else:
            _fail_interrupted(
                database,
                task,
                "The server stopped again and again while this task was running, without any "
                "progress of the task. It is not resumed again. If other tasks run without "
                "problems, this task may be the cause.",
            )
    return unfinished


def _resumed(database: Database, run: AgentRun, agent_seconds: float) -> AgentRun | None:
    """Count one more restart of a run and return the run, None when there were too many."""
    if not _is_late(run, agent_seconds):
        if run.resumes >= MAX_RESUMES:
            return None
        database.record_resume(run.task_id)
        return run
    # A process that the agent has left behind may print for ever, which looks like progress.
    count = run.position.get(LATE_RESUMES, 0) + 1
    if count > MAX_LATE_RESUMES:
        return None
    position = {**run.position, LATE_RESUMES: count}
    database.save_progress(run.task_id, NO_EVENTS, position=position)
    return replace(run, position=position)


def _is_late(run: AgentRun, agent_seconds: float) -> bool:
    age = datetime.now(UTC) - run.agent_started_at
    has_ended = run.position.get("stage") in {Stage.CAPTURING, Stage.CHECKING}
    return has_ended or age.total_seconds() > agent_seconds


def _requeue(database: Database, task: QueuedTask, max_attempts: int) -> bool:
    if task.attempt < max_attempts:
        moved = database.move_task(
            task.id, {TaskStatus.RUNNING}, TaskStatus.PENDING, stage=None, started_at=None
        )
        return moved is not None
    _fail_interrupted(
        database,
        task,
        f"The server stopped {task.attempt} times while this task was running (MAX_ATTEMPTS). It "
        "is not started again. If other tasks run without problems, this task may be the cause.",
    )
    return False


def _fail_interrupted(database: Database, task: QueuedTask, message: str) -> None:
    mark_failed(database, task.id, message, task.stage, code="interrupted")


async def run_sweeper(
    provider: SandboxProvider,
    database: Database,
    grace_seconds: float,
    on_reachable: Callable[[], None],
) -> None:
    """End orphaned sandboxes periodically until cancelled.

    Calls `on_reachable` after each sweep that the provider answered.
    """

    async def sweep() -> None:
        await provider.sweep(await to_thread.run_sync(known_sandboxes, database))
        on_reachable()

    await run_periodically("sweep", sweep, min(SWEEP_SECONDS, grace_seconds + 1))


async def run_workspace_sweeper(
    provider: SandboxProvider, database: Database, ttl_seconds: float, most: int
) -> None:
    """End kept sandboxes whose time is over, and those above the limit, until cancelled."""
    if ttl_seconds == 0:
        most = 0  # those that were kept before the setting was changed
    pause_seconds = min(SWEEP_SECONDS, ttl_seconds / 4 + 1) if most else SWEEP_SECONDS
    step = partial(_end_old_workspaces, provider, database, most)
    await run_periodically("end of kept sandboxes", step, pause_seconds)


async def _end_old_workspaces(provider: SandboxProvider, database: Database, most: int) -> None:
    kept = set()
    for place, workspace in enumerate(await to_thread.run_sync(database.list_workspaces)):
        kept.add(workspace.sandbox_id)
        if place < most and workspace.until > datetime.now(UTC):
            continue
        # It fails for a task whose next turn has begun in this moment.
        task_id, sandbox_id = workspace.task_id, workspace.sandbox_id
        if await to_thread.run_sync(database.keep_workspace, task_id, sandbox_id, None):
            kept.discard(sandbox_id)
            await provider.end(sandbox_id)
            log.info("workspace ended", action="workspaces.ended", task_id=task_id)
    await provider.prune(kept)
