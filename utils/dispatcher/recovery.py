"""What an earlier process of this server, or another server, left undone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import anyio
import structlog
from anyio import to_thread

from database import Database
from utils.dispatcher.task_result import mark_failed
from utils.errors import AppError
from utils.models.runs import AgentRun
from utils.models.tasks import QueuedTask, TaskStatus
from utils.sandboxes.protocol import SandboxProvider

SWEEP_SECONDS = 60.0
"""How often sandboxes that nobody knows are looked for, at most."""

MAX_RESUMES = 10
"""Restarts in a row that a task may see without getting any further: it may be their cause."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UnfinishedTasks:
    """Tasks to queue, oldest first, and those whose agent works on in its sandbox."""

    waiting: list[QueuedTask] = field(default_factory=list)
    left: list[tuple[QueuedTask, AgentRun]] = field(default_factory=list)


def classify_unfinished(
    database: Database, tasks: Sequence[QueuedTask], max_attempts: int, *, survives: bool
) -> UnfinishedTasks:
    """Decide how tasks go on that were adopted.

    Where sandboxes do not survive, and where no agent was started, a task that ran is put back;
    one that was started `max_attempts` times has failed, and so has one that was gone on with
    `MAX_RESUMES` times without getting any further. Its sandbox is then one that nobody knows.
    """
    unfinished = UnfinishedTasks()
    for task in tasks:
        running = task.status is TaskStatus.RUNNING
        run = database.get_run(task.id) if running and survives else None
        if run and run.resumes >= MAX_RESUMES:
            _interrupt(
                database,
                task,
                f"The server stopped {run.resumes} times while it went on with this task, which "
                "got no further, so it is given up. If other tasks run well, look at what this "
                "one does.",
            )
        elif run:
            database.count_resume(task.id)
            unfinished.left.append((task, run))
        elif not running or _put_back(database, task, max_attempts):
            unfinished.waiting.append(task)
    return unfinished


def _put_back(database: Database, task: QueuedTask, max_attempts: int) -> bool:
    if task.attempt < max_attempts:
        moved = database.move_task(
            task.id, {TaskStatus.RUNNING}, TaskStatus.PENDING, stage=None, started_at=None
        )
        return moved is not None
    _interrupt(
        database,
        task,
        f"The server stopped {task.attempt} times while it ran this task, so it is not tried again "
        "(MAX_ATTEMPTS). If other tasks run well, look at what this one does.",
    )
    return False


def _interrupt(database: Database, task: QueuedTask, message: str) -> None:
    mark_failed(database, task.id, message, task.stage, code="interrupted")


async def run_sweeper(
    provider: SandboxProvider,
    database: Database,
    grace_seconds: float,
    reachable: Callable[[], None],
) -> None:
    """End sandboxes that nobody knows, again and again until cancelled.

    `reachable` is called each time that the cloud answered.
    """
    while True:
        try:
            known = await to_thread.run_sync(database.list_run_sandboxes)
            await provider.sweep(known)
            reachable()
        except AppError as error:
            log.warning("sweep failed", action="sweep.failed", reason=error.message)
        except Exception:
            # Whatever it is, it must not end the tasks that run beside this.
            log.exception("sweep crashed", action="sweep.crashed")
        await anyio.sleep(min(SWEEP_SECONDS, grace_seconds + 1))
