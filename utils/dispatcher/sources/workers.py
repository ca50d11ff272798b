"""Knows the workers of the database. It is information only: nothing is decided by it."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from datetime import timedelta

import structlog
from anyio import to_thread

from database import Database
from utils.config.version import VERSION
from utils.dispatcher.sources.source import RunHost
from utils.errors import AppError
from utils.models.engine import Worker

NO_WORKER = "waiting: no worker is running. Start one with ./run.sh worker"
DRAINED = "waiting: an administrator has drained the workers"

BEATS_PER_REPORT = 3
"""Beats after which a worker stores again what it does."""

READ_SECONDS = 2.0
"""Age after which the rows are read again when somebody asks."""


log = structlog.get_logger(__name__)


class Workers:
    """Reports this worker, and reads the others. For all threads."""

    def __init__(self, database: Database, silence_seconds: float) -> None:
        self._database = database
        self._silence = timedelta(seconds=max(2 * silence_seconds, READ_SECONDS))
        self._lock = threading.Lock()
        self._read_at = -READ_SECONDS
        self._found: list[Worker] = []
        self._beats = 0
        self._is_draining = False

    @property
    def has_others(self) -> bool:
        """True when another worker was seen lately, as far as this server has read."""
        return any(one.name != self._database.server for one in self._found)

    @property
    def is_draining(self) -> bool:
        """True when this worker was asked to take no more tasks."""
        return self._is_draining

    def reason_of_others(self, if_alone: str = NO_WORKER) -> str | None:
        """Return why none of the other workers takes tasks, None when one does. Blocks."""
        others = [one for one in self.list() if one.name != self._database.server]
        reasons = [DRAINED if one.is_draining else one.waiting_reason for one in others]
        return next(iter(reasons), if_alone) if all(reasons) else None

    def list(self) -> list[Worker]:
        """Return the workers that were seen lately. Blocks when they were not read lately.

        While the database is unavailable, the workers of before are returned.
        """
        with self._lock:
            if time.monotonic() - self._read_at >= READ_SECONDS:
                self._read_at = time.monotonic()
                with suppress(AppError):
                    self._found = self._database.list_workers(self._silence)
        return self._found

    def drain(self, name: str, *, is_draining: bool) -> bool:
        """Ask a worker to take no more tasks, or to take them again; tell whether it is known.

        The next list is read again, so that whoever asked sees it.
        """
        is_known = self._database.drain_worker(name, is_draining)
        with self._lock:
            self._read_at = -READ_SECONDS
        return is_known

    def announce(self, places: int) -> None:
        """Store that this worker begins. Raises `DatabaseUnavailable`."""
        self._is_draining = self._database.beat_worker(VERSION, places, 0, None)
        self.list()

    async def report(self, host: RunHost) -> None:
        """Store what this worker does, at some of its beats."""
        self._beats += 1
        if self._beats % BEATS_PER_REPORT == 0:
            state = host.state()
            is_draining = await to_thread.run_sync(
                self._database.beat_worker, VERSION, state.places, state.running, state.reason
            )
            if is_draining != self._is_draining:
                self._is_draining = is_draining
                log.info("drain changed", action="worker.drain_changed", is_draining=is_draining)
            await to_thread.run_sync(self.list)
