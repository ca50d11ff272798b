"""Removes tasks that ended more than `RETENTION_DAYS` ago; archives them first if that is set."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import anyio
import structlog
from anyio import to_thread

from database import Database
from utils.config.settings import Settings
from utils.maintenance.archive import Archive
from utils.maintenance.periodic import run_periodically
from utils.models.tasks import TaskMark

PAUSE_SECONDS = 600.0
"""Pause between two searches."""

BATCH = 100
"""Tasks that are removed in one transaction at most, so that other writers wait little."""

BATCH_EVENTS = 20_000
"""Events that are deleted in one transaction at most, except those of a single task."""

BATCH_BYTES = 8_000_000
"""Text of records that is in memory at once, besides the last record."""

REST = 4.0
"""Rest after a batch, as a multiple of the time that it took: requests come first."""

log = structlog.get_logger(__name__)


class Retention:
    """Removes old tasks in batches."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.days = settings.retention_days
        self._database = database
        self._archive = Archive(settings.data_dir) if settings.archive else None

    async def run(self) -> None:
        """Remove old tasks until cancelled, and rest between the batches."""
        await run_periodically("retention", self._run_once, PAUSE_SECONDS)

    async def _run_once(self) -> None:
        total = 0
        began = time.monotonic()
        try:
            while count := await to_thread.run_sync(self.remove_batch):
                total += count
                await anyio.sleep(REST * (time.monotonic() - began))
                began = time.monotonic()
        finally:
            self.report(total)

    def report(self, count: int) -> None:
        """Write to the log how many tasks were removed, if any."""
        if count and self._archive is not None:
            log.info("old tasks archived", action="retention.archived", count=count)
        elif count:
            log.info("old tasks deleted", action="retention.deleted", count=count)

    def remove_batch(self, limit: datetime | None = None) -> int:
        """Remove the tasks that have not changed for longest; return how many, 0 at the end.

        Several servers may do this on one database: each task is removed by one of them. Raises
        `DatabaseUnavailable`, and `ConfigurationError` when the archive cannot be written.
        """
        limit = limit or datetime.now(UTC) - timedelta(days=self.days)
        marks = list(_affordable(self._database.list_old_tasks(limit, limit=BATCH)))
        if not marks or self._archive is None:
            return len(self._database.delete_old_tasks(marks)) if marks else 0
        return self._remove_archived(self._archive, marks)

    def _remove_archived(self, archive: Archive, marks: Sequence[TaskMark]) -> int:
        # A task that changes after its mark was read is not deleted, so no record is outdated.
        records = self._database.get_task_records(
            [mark.id for mark in marks], max_bytes=BATCH_BYTES
        )
        if not records:
            return 0
        file = archive.write((record.text for record in records), datetime.now(UTC))
        written = {record.id for record in records}
        removed = self._database.delete_old_tasks(
            [mark for mark in marks if mark.id in written], file
        )
        if not removed:
            archive.discard(file)
        return len(removed)


def _affordable(marks: Sequence[TaskMark]) -> Iterator[TaskMark]:
    events = 0
    for place, mark in enumerate(marks):
        events += mark.last_sequence
        if place and events > BATCH_EVENTS:
            return
        yield mark
