"""Collects the events of one running task and writes them in batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio
import structlog
from anyio import to_thread

from database import Database
from utils.errors import DatabaseUnavailable
from utils.models.runs import AgentRun
from utils.models.tasks import Event, EventBatch, Json, Stage
from utils.redaction import Redactor

FLUSH_SECONDS = 0.25

DATABASE_RETRY_SECONDS = 2.0
"""Longest pause between two tries to reach a database that is away."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Entry:
    event: Event
    position: Json


class EventLog:
    """Takes events from the pipeline; secrets are removed before anything is kept.

    `run` is that of an earlier process: a stage that it has reported is not reported again.
    `position` is that after the newest event, with the newest stage that was reported. `lost` is
    called when the task turns out not to run on this server any more.
    """

    def __init__(
        self,
        database: Database,
        redactor: Redactor,
        task_id: int,
        run: AgentRun | None = None,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.position: Json = dict(run.position) if run else {}
        self.stage: str | None = self.position.get("stage")
        self._database = database
        self._redactor = redactor
        self._task_id = task_id
        self._waiting: list[_Entry] = []
        self._stored: int | None = None
        self._lost = lost
        self._stored_stage: str | None = self.stage
        self._agent_ended = anyio.Event()
        self._changed = anyio.Event()
        self._writing = anyio.Lock()

    def start_after(self, sequence: int) -> None:
        """Say which event of the task is the newest one stored, 0 without any.

        From now on nobody else adds to them, so a batch may be written again when its answer was
        lost.
        """
        self._stored = sequence

    def enter(self, stage: Stage) -> None:
        """Report that a stage begins, once for each agent that is started."""
        if stage is Stage.CAPTURING:
            self._agent_ended.set()
        if self.stage == stage:
            return
        self.stage = str(stage)
        if stage is Stage.CLONING:
            # Nothing of an agent whose sandbox was lost counts for the next one.
            self.position = {}
            self._agent_ended = anyio.Event()
        if _rank(stage) > _rank(self.position.get("stage")):
            self.position = {**self.position, "stage": self.stage}
            self.report("status", {"stage": self.stage})

    def report(self, kind: str, data: Json, position: Json | None = None) -> None:
        """Take one event of the agent's output, which ends at `position`.

        See `utils.models.tasks.Event`.
        """
        self.position = {**self.position, **(position or {})}
        clean: Json = self._redactor.redact_values(data)
        self._waiting.append(_Entry(Event(kind, clean, datetime.now(UTC)), self.position))
        self._changed.set()

    async def follow(self, container_id: str) -> None:
        """Write what has come, again and again, until cancelled.

        The last time is when the agent has ended: git is busy then, and the result need not wait.
        """
        while not self._agent_ended.is_set():
            await self._changed.wait()
            self._changed = anyio.Event()
            with anyio.move_on_after(FLUSH_SECONDS):
                await self._agent_ended.wait()
            try:
                with anyio.CancelScope(shield=True):
                    async with self._writing:
                        runs_here = await to_thread.run_sync(self._write_progress, container_id)
                if not runs_here:
                    self._lost()
                    return
            except DatabaseUnavailable as error:
                self._changed.set()
                log.warning("events not stored yet", action="events.delayed", reason=error.message)

    async def store_run(self, run: AgentRun) -> bool:
        """Store a run together with what waits; False when the task does not run any more."""
        async with self._writing:
            return await to_thread.run_sync(self._store_run, run)

    def batch(self) -> EventBatch:
        """Return what waits, to be stored by the caller, who then calls `stored`."""
        return EventBatch(tuple(entry.event for entry in list(self._waiting)), self._stored)

    def stored(self, batch: EventBatch) -> None:
        """Forget a batch that was stored."""
        del self._waiting[: len(batch.events)]
        if self._stored is not None:
            self._stored += len(batch.events)

    def _store_run(self, run: AgentRun) -> bool:
        batch = self.batch()
        running = self._database.start_run(run, batch)
        self.stored(batch)
        return running

    def _write_progress(self, container_id: str) -> bool:
        batch, stage = self.batch(), self.stage
        if not batch.events and stage == self._stored_stage:
            return True
        position = self._waiting[len(batch.events) - 1].position if batch.events else None
        fields = {"stage": stage, "container_id": container_id}
        runs_here = self._database.save_progress(
            self._task_id,
            batch,
            position=position,
            fields=fields if stage != self._stored_stage else None,
        )
        self.stored(batch)
        self._stored_stage = stage
        return runs_here


def _rank(stage: str | None) -> int:
    return list(Stage).index(Stage(stage)) if stage else -1
