"""Deletes tasks that ended more than `RETENTION_DAYS` ago."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import anyio
import structlog
from anyio import to_thread

from database import Database
from utils.errors import AppError, Conflict, NotFound

PAUSE_SECONDS = 3_600.0
"""Pause between two searches."""

BATCH = 500
"""Tasks that are found at once; each is deleted by itself, so that other writers wait little."""

log = structlog.get_logger(__name__)


async def run_retention(database: Database, days: int) -> None:
    """Delete tasks that have not changed for so many days after their end, until cancelled.

    Several servers may do this on one database: each task is deleted once, by one of them.
    """
    while True:
        try:
            limit = datetime.now(UTC) - timedelta(days=days)
            while count := await to_thread.run_sync(delete_old_tasks, database, limit):
                log.info("old tasks deleted", action="retention.deleted", count=count)
        except AppError as error:
            log.warning("retention failed", action="retention.failed", reason=error.message)
        except Exception:
            # An unexpected error must not end the tasks that run on the same loop.
            log.exception("retention crashed", action="retention.crashed")
        await anyio.sleep(PAUSE_SECONDS)


def delete_old_tasks(database: Database, limit: datetime) -> int:
    """Delete up to `BATCH` tasks; return how many."""
    deleted = 0
    for user_id, task_id in database.list_old_tasks(limit, limit=BATCH):
        # Another server may have deleted the task, or its user may have used it.
        with suppress(NotFound, Conflict):
            database.delete_task(user_id, task_id, unchanged_since=limit)
            deleted += 1
    return deleted
