"""Buffers the events of one running task and writes them in batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import anyio
import structlog
from anyio import to_thread

from database import Database
from utils.errors import DatabaseUnavailable
from utils.models.events import NO_EVENTS, Event, EventBatch
from utils.models.runs import AgentRun
from utils.models.tasks import Json, Stage
from utils.pipeline.workspace import Start
from utils.redaction import Redactor
from utils.usage.tracker import UsageTracker

FLUSH_SECONDS = 0.25

DATABASE_RETRY_SECONDS = 2.0
"""Longest pause between two attempts to reach an unavailable database."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _PendingEvent:
    event: Event
    position: Json


class EventLog:
    """Buffers the events of the pipeline, without secrets, until they are stored.

    `run` is the run of an earlier process to resume; a stage that it has reported is not reported
    again. `position` marks the end of the newest event and holds the newest reported stage.
    `on_task_lost` is called when the task no longer runs on this server.
    """

    def __init__(
        self,
        database: Database,
        redactor: Redactor,
        task_id: int,
        run: AgentRun | None = None,
        on_task_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.position: Json = dict(run.position) if run else {}
        self.stage: str | None = self.position.get("stage")
        self.usage: UsageTracker | None = None
        self._database = database
        self._redactor = redactor
        self._task_id = task_id
        self._pending: list[_PendingEvent] = []
        self._last_sequence: int | None = None
        self._on_task_lost = on_task_lost
        self._stored_stage: str | None = self.stage
        self._agent_ended = anyio.Event()
        self._check_began = anyio.Event()
        self._event_added = anyio.Event()
        self._write_lock = anyio.Lock()

    def start_after(self, sequence: int) -> None:
        """Set the number of the newest stored event of the task, 0 without events.

        This log is the only writer from now on, so a batch may be sent again when the answer to it
        was lost.
        """
        self._last_sequence = sequence

    def begin_stage(self, stage: Stage) -> None:
        """Report the beginning of a stage, at most once for each started agent."""
        if stage is Stage.CAPTURING:
            self._agent_ended.set()
        if stage is Stage.CHECKING:
            self._agent_ended = anyio.Event()
            self._check_began.set()
        if self.stage == stage:
            return
        self.stage = str(stage)
        if stage is Stage.CLONING:
            # The position of an agent whose sandbox was lost does not apply to the next agent.
            self.position = {}
            self._agent_ended = anyio.Event()
        if _rank(stage) > _rank(self.position.get("stage")):
            self.position = {**self.position, "stage": self.stage}
            self.report("status", {"stage": self.stage})

    def note_branch(self, name: str) -> None:
        """Note the branch that was cloned; stored with the position, as a restart needs it."""
        self.position = {**self.position, "branch": name}

    def note_start(self, start: Start) -> None:
        """Note where the turn begins; stored with the position, as a restart needs it."""
        begun = [start.commit, start.tree, start.is_kept]
        self.position = {**self.position, "start": begun}
        if start.further:
            further = [[one.base_commit, one.commit, one.tree, one.branch] for one in start.further]
            self.position = {**self.position, "further": further}

    @property
    def branch(self) -> str | None:
        """The branch that was cloned, None before the clone."""
        return self.position.get("branch")

    def report(self, kind: str, data: Json, position: Json | None = None) -> None:
        """Add an event (see `utils.models.events.Event`); `position` is its end in the output."""
        self.position = {**self.position, **(position or {})}
        if self.usage:
            self.usage.observe(kind, data)
        clean: Json = self._redactor.redact_values(data)
        self._pending.append(_PendingEvent(Event(kind, clean, datetime.now(UTC)), self.position))
        self._event_added.set()

    def note_usage(self, details: Json, unreported: Json, *, has_ended: bool) -> None:
        """Note what the agent has used up to now."""
        if self.usage:
            self.usage.note_agent(details, unreported, has_ended=has_ended)

    async def run_writer(self, container_id: str) -> None:
        """Write new events in batches until cancelled, or until the task runs elsewhere.

        The last batch of the agent is written while git captures the changes, so that the result
        need not wait. A check that follows may take long, so its events are written as well.
        """
        if await self._write_until_the_agent_ends(container_id):
            await self._check_began.wait()
            await self._write_until_the_agent_ends(container_id)

    async def _write_until_the_agent_ends(self, container_id: str) -> bool:
        while not self._agent_ended.is_set():
            await self._event_added.wait()
            self._event_added = anyio.Event()
            with anyio.move_on_after(FLUSH_SECONDS):
                await self._agent_ended.wait()
            try:
                # A cancel waits for a thread that has begun, and what was not begun stays buffered.
                async with self._write_lock:
                    runs_here = await to_thread.run_sync(self._write_progress, container_id)
                if not runs_here:
                    self._on_task_lost()
                    return False
            except DatabaseUnavailable as error:
                self._event_added.set()
                log.warning("events not stored yet", action="events.delayed", reason=error.message)
        return True

    async def still_runs_here(self) -> bool:
        """Tell whether the task still runs on this server.

        If not, or if the database cannot tell, the task is left.
        """
        check = partial(self._database.save_progress, self._task_id, NO_EVENTS)
        try:
            async with self._write_lock:
                runs_here = await to_thread.run_sync(check)
        except DatabaseUnavailable:
            runs_here = False
        if not runs_here:
            self._on_task_lost()
        return runs_here

    async def forget_workspace(self) -> bool:
        """Store that the kept sandbox of the task is used up; see `still_runs_here`."""
        forget = partial(
            self._database.save_progress,
            self._task_id,
            NO_EVENTS,
            fields={"workspace_until": None},
        )
        async with self._write_lock:
            return await to_thread.run_sync(forget)

    async def store_run(self, run: AgentRun) -> bool:
        """Store a run and the buffered events; return False when the task no longer runs here."""
        async with self._write_lock:
            return await to_thread.run_sync(self._store_run, run)

    def pending_batch(self) -> EventBatch:
        """Return the buffered events; the caller stores them and then calls `mark_stored`."""
        return EventBatch(tuple(entry.event for entry in list(self._pending)), self._last_sequence)

    def mark_stored(self, batch: EventBatch) -> None:
        """Remove a stored batch from the buffer."""
        del self._pending[: len(batch.events)]
        if self._last_sequence is not None:
            self._last_sequence += len(batch.events)

    def _store_run(self, run: AgentRun) -> bool:
        batch = self.pending_batch()
        running = self._database.start_run(run, batch)
        self.mark_stored(batch)
        return running

    def _write_progress(self, container_id: str) -> bool:
        batch, stage = self.pending_batch(), self.stage
        if not batch.events and stage == self._stored_stage:
            return True
        position = self._pending[len(batch.events) - 1].position if batch.events else None
        if position and self.usage:
            position = {**position, **self.usage.position}
        fields = {"stage": stage, "container_id": container_id}
        if self.branch:
            fields["target_branch"] = self.branch
        runs_here = self._database.save_progress(
            self._task_id,
            batch,
            position=position,
            fields=fields if stage != self._stored_stage else None,
        )
        self.mark_stored(batch)
        self._stored_stage = stage
        if runs_here and self.usage:
            self.usage.save()
        return runs_here


def _rank(stage: str | None) -> int:
    return list(Stage).index(Stage(stage)) if stage else -1
