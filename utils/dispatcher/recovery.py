"""Decides how unfinished tasks of an earlier process, or of an ended server, continue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import anyio
import structlog
from anyio import to_thread

from database import Database
from utils.dispatcher.results import mark_failed
from utils.errors import AppError
from utils.models.runs import AgentRun
from utils.models.tasks import QueuedTask, Stage, TaskStatus
from utils.sandboxes.protocol import SandboxProvider

SWEEP_SECONDS = 60.0
"""Longest pause between two sweeps of orphaned sandboxes."""

MAX_RESUMES = 10
"""Restarts in a row without progress after which a task fails: it may be their cause."""

MAX_CAPTURE_RESUMES = 3
"""The same for a task whose agent has ended: only its result remains to be read."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UnfinishedTasks:
    """Unfinished tasks: `queued` start anew, oldest first; `resumable` have a running agent."""

    queued: list[QueuedTask] = field(default_factory=list)
    resumable: list[tuple[QueuedTask, AgentRun]] = field(default_factory=list)


def classify_unfinished(
    database: Database, tasks: Sequence[QueuedTask], max_attempts: int, *, survives: bool
) -> UnfinishedTasks:
    """Sort claimed tasks into those to start anew and those to resume; fail the others.

    A running task is resumed if sandboxes survive a restart and its agent was started; otherwise
    it is queued again. A task fails when it was started `max_attempts` times, or resumed
    `MAX_RESUMES` times without progress (`MAX_CAPTURE_RESUMES` once its agent has ended). The sweep
    then ends its sandbox.
    """
    unfinished = UnfinishedTasks()
    for task in tasks:
        running = task.status is TaskStatus.RUNNING
        run = database.get_run(task.id) if running and survives else None
        if run and run.resumes >= _resumes_allowed(run):
            _fail_interrupted(
                database,
                task,
                f"The server stopped {run.resumes} times while this task was running, without any "
                "progress of the task. It is not resumed again. If other tasks run without "
                "problems, this task may be the cause.",
            )
        elif run:
            database.record_resume(task.id)
            unfinished.resumable.append((task, run))
        elif not running or _requeue(database, task, max_attempts):
            unfinished.queued.append(task)
    return unfinished


def _resumes_allowed(run: AgentRun) -> int:
    return MAX_CAPTURE_RESUMES if run.position.get("stage") == Stage.CAPTURING else MAX_RESUMES


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
    while True:
        try:
            known = await to_thread.run_sync(database.list_run_sandboxes)
            await provider.sweep(known)
            on_reachable()
        except AppError as error:
            log.warning("sweep failed", action="sweep.failed", reason=error.message)
        except Exception:
            # An unexpected error must not end the tasks that run on the same loop.
            log.exception("sweep crashed", action="sweep.crashed")
        await anyio.sleep(min(SWEEP_SECONDS, grace_seconds + 1))
