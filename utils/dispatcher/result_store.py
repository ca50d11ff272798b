"""Stores the result of one run, at once or when the database is back."""

from __future__ import annotations

import dataclasses

import anyio
import structlog
from anyio import to_thread

from utils.dispatcher.event_log import EventLog
from utils.dispatcher.result_outbox import FinishedTask, store_or_shrink
from utils.dispatcher.run_context import RunContext
from utils.dispatcher.task_result import final_status, result_fields, summary_message
from utils.errors import DatabaseUnavailable
from utils.models.runs import Outcome
from utils.models.tasks import Task
from utils.redaction import Redactor

log = structlog.get_logger(__name__)


class ResultStore:
    """What one run came to. `waiting` is a result that the database could not take yet."""

    def __init__(self, parts: RunContext, events: EventLog, redactor: Redactor) -> None:
        self.waiting: FinishedTask | None = None
        self._parts = parts
        self._events = events
        self._redactor = redactor
        self._is_stored = False

    async def store(self, task: Task, outcome: Outcome, container_id: str) -> bool:
        """Store what came of a task; False when another server may need the sandbox.

        A result that must wait is kept on disk, and `waiting` then.
        """
        result = self._result(task, outcome, container_id)
        try:
            is_ours = await to_thread.run_sync(self._finish, result)
        except DatabaseUnavailable as error:
            log.warning("result not stored yet", action="result.delayed", reason=error.message)
            self.waiting = result
            await to_thread.run_sync(self._parts.kept.keep, result)
            # Alone, this server will store it, and a sandbox may cost money until it is ended.
            is_ours = not self._parts.neighbours.has_peers
        if is_ours:
            self._measure(result, task, outcome)
        return is_ours

    def store_waiting(self) -> None:
        """Store the result that waits, blocking. Raises `DatabaseUnavailable`."""
        if self.waiting:
            self._is_stored = store_or_shrink(self._parts.database, self.waiting)

    async def clear_up(self) -> None:
        """Remove what was kept while the result waited: the file, and a sandbox that was left."""
        if self.waiting is None:
            return
        await to_thread.run_sync(self._parts.kept.forget, self.waiting.task_id)
        log.info(
            "waiting result stored" if self._is_stored else "late result dropped",
            action="result.settled",
        )
        if self._is_stored and self._parts.neighbours.has_peers:
            with anyio.CancelScope(shield=True):
                await self._parts.provider.end(self.waiting.container_id)

    def _result(self, task: Task, outcome: Outcome, container_id: str) -> FinishedTask:
        changes = outcome.changes.file_changes if outcome.changes else ()
        return FinishedTask(
            task.id,
            final_status(outcome.failure),
            result_fields(task, outcome, container_id, self._parts.agents, self._redactor),
            summary_message(outcome, self._redactor),
            [dataclasses.asdict(change) for change in changes],
            self._events.batch(),
        )

    def _finish(self, result: FinishedTask) -> bool:
        stored = result.store(self._parts.database)
        self._events.stored(result.batch)
        log.info(
            "task ended" if stored else "late result dropped",
            action="task.ended",
            status=str(result.status),
            code=result.error_code,
        )
        return stored is not None

    def _measure(self, result: FinishedTask, task: Task, outcome: Outcome) -> None:
        self._parts.metrics.task_ended(str(result.status), task.agent)
        for timing in outcome.timings:
            self._parts.metrics.stage_finished(str(timing.stage), timing.seconds)
