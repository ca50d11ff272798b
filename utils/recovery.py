"""What an earlier process of this server left undone."""

from __future__ import annotations

from database import Database
from utils.models import AgentRun, QueuedTask, TaskStatus


def find_unfinished(
    database: Database, max_attempts: int, *, survives: bool
) -> tuple[list[QueuedTask], list[tuple[QueuedTask, AgentRun]]]:
    """Return the tasks to queue, oldest first, and those whose agent works on in its sandbox.

    Where sandboxes do not survive, and where no agent was started, a task that ran is put back;
    one that was started `max_attempts` times has failed.
    """
    waiting, left = [], []
    for task in database.unfinished_tasks():
        running = task.status is TaskStatus.RUNNING
        run = database.get_run(task.id) if running and survives else None
        if run:
            left.append((task, run))
        elif not running or _put_back(database, task, max_attempts):
            waiting.append(task)
    return waiting, left


def _put_back(database: Database, task: QueuedTask, max_attempts: int) -> bool:
    if task.attempt < max_attempts:
        moved = database.move_task(
            task.id, {TaskStatus.RUNNING}, TaskStatus.PENDING, stage=None, started_at=None
        )
        return moved is not None
    last_seen, _ = database.get_job_task(task.id)
    database.move_task(
        task.id,
        {TaskStatus.RUNNING},
        TaskStatus.FAILED,
        error=f"The server stopped {task.attempt} times while it ran this task, so it is not "
        "tried again (MAX_ATTEMPTS). If other tasks run well, look at what this one does.",
        error_code="interrupted",
        error_stage=last_seen.stage,
    )
    return False
