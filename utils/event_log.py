"""Collects the events of one running task and writes them in batches."""

from __future__ import annotations

from datetime import UTC, datetime

import anyio
import structlog
from anyio import to_thread

from database import Database
from utils.errors import DatabaseUnavailable
from utils.models import Event, Json, Stage
from utils.redaction import Redactor

FLUSH_SECONDS = 0.25

log = structlog.get_logger(__name__)


class EventLog:
    """Takes events from the pipeline; secrets are removed before anything is kept."""

    def __init__(self, database: Database, redactor: Redactor, task_id: int) -> None:
        self.stage: str | None = None
        self._database = database
        self._redactor = redactor
        self._task_id = task_id
        self._waiting: list[Event] = []
        self._stored_stage: str | None = None
        self._agent_ended = anyio.Event()

    def report(self, kind: str, data: Json) -> None:
        """Take one event; see `utils.models.Event`."""
        if kind == "status":
            self.stage = str(data["stage"])
            if self.stage == Stage.CAPTURING:
                self._agent_ended.set()
        clean = {
            key: self._redactor.redact(value) if isinstance(value, str) else value
            for key, value in data.items()
        }
        self._waiting.append(Event(kind, clean, datetime.now(UTC)))

    async def follow(self, container_id: str) -> None:
        """Write what has come, again and again, until cancelled.

        The last time is when the agent has ended: git is busy then, and the result need not wait.
        """
        while not self._agent_ended.is_set():
            with anyio.move_on_after(FLUSH_SECONDS):
                await self._agent_ended.wait()
            try:
                with anyio.CancelScope(shield=True):
                    await to_thread.run_sync(self._write_progress, container_id)
            except DatabaseUnavailable as error:
                log.warning("events wait", action="events_wait", reason=error.message)

    def write(self) -> None:
        """Write what is waiting, blocking. Raises `DatabaseUnavailable` and keeps it then."""
        batch = list(self._waiting)
        if batch:
            self._database.append_events(self._task_id, batch)
            del self._waiting[: len(batch)]

    def _write_progress(self, container_id: str) -> None:
        self.write()
        if self.stage != self._stored_stage:
            fields = {"stage": self.stage, "container_id": container_id}
            self._database.update_running_task(self._task_id, fields)
            self._stored_stage = self.stage
