"""Builds the result of a run and stores it, at once or when the database is back."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from datetime import UTC, datetime

import structlog
from anyio import to_thread

from database import Database
from utils.agents.registry import Agents
from utils.agents.spec import AgentSpec
from utils.database.shared import ASKED_FIELDS, last_event
from utils.dispatcher.event_log import EventLog
from utils.dispatcher.result_outbox import FinishedTask, store_or_shrink
from utils.dispatcher.run_context import RunContext
from utils.errors import AppError, DatabaseUnavailable, TaskStopped
from utils.models.events import EventBatch
from utils.models.runs import Outcome, RepositoryOutcome
from utils.models.tasks import Json, Stage, Task, TaskStatus
from utils.models.turns import Turn, TurnResult, TurnStatus, usage_of
from utils.pipeline.capture.secret_search import FILES_FIELD, without_secrets
from utils.redaction import Redactor

CANCELLED = "cancelled"
INTERRUPTED = "turn_interrupted"
SHUTDOWN = "shutdown"

KEPT_FIELDS = (
    *("base_commit", "tree_hash", "additions", "deletions", "files_changed"),
    *(FILES_FIELD, "file_changes"),
)
"""The metadata of earlier turns that a turn without a result leaves as they are."""

log = structlog.get_logger(__name__)


class ResultStore:
    """Stores the result of one run, which is that of `turn`.

    `pending` is a result that the database had not accepted when it was made.
    """

    def __init__(self, context: RunContext, events: EventLog, redactor: Redactor) -> None:
        self.pending: FinishedTask | None = None
        self.turn: Turn | None = None
        self.next_turn_waits = False
        self.has_ended = False
        self.is_storing = False
        self._context = context
        self._events = events
        self._redactor = redactor
        self._is_stored = self._is_settled = False

    async def store(self, task: Task, outcome: Outcome, container_id: str) -> bool:
        """Store the result of a task; return False when another server may need the sandbox.

        When the database is unavailable, the result is saved on disk and becomes `pending`.
        """
        self.is_storing = True
        # In a thread, because an agent decides how much there is to redact; all of it in one.
        result, is_ours = await to_thread.run_sync(self._store, task, outcome, container_id)
        if is_ours:
            self._record_metrics(result, task, outcome)
        return is_ours

    def _store(self, task: Task, outcome: Outcome, container_id: str) -> tuple[FinishedTask, bool]:
        result = self._result(task, outcome, container_id)
        try:
            return result, self._finish(result)
        except DatabaseUnavailable as error:
            log.warning("result not stored yet", action="result.delayed", reason=error.message)
            self.pending = result
            self._context.outbox.save(result)
            # Without other servers, only this one can store the result later, and a sandbox may
            # cost money until it is ended.
            return result, not self._context.source.has_peers

    @property
    def has_result(self) -> bool:
        """True when the result of the turn is stored: the task has ended or its next turn waits."""
        return self.has_ended or self.next_turn_waits

    @property
    def is_kept(self) -> bool:
        """True when the result is only on disk: it was neither stored nor dropped."""
        return self.pending is not None and not self._is_settled

    def store_pending(self) -> None:
        """Store the pending result. Blocks. Raises `DatabaseUnavailable`."""
        if self.pending:
            stored = store_or_shrink(self._context.database, self.pending)
            self._is_stored = stored is not None
            self._is_settled = True
            self._note_next_turn(stored)

    async def clean_up(self) -> None:
        """Delete the file of the pending result, and end a sandbox that was left running."""
        if self.pending is None:
            return
        await to_thread.run_sync(self._context.outbox.delete, self.pending.task_id)
        log.info(
            "waiting result stored" if self._is_stored else "late result dropped",
            action="result.settled",
        )
        if self._is_stored and self._context.source.has_peers:
            await self._context.provider.end(self.pending.container_id)

    def _result(self, task: Task, outcome: Outcome, container_id: str) -> FinishedTask:
        outcome = without_secrets(outcome, self._redactor.redact)
        changes = outcome.changes.file_changes if outcome.changes else ()
        agents, redactor = self._context.agents, self._redactor
        fields = result_fields(task, outcome, container_id, agents, redactor, self.turn)
        if self._events.branch:
            fields["target_branch"] = self._events.branch
        status = final_status(outcome.failure)
        return FinishedTask(
            task.id,
            status,
            fields,
            closing_message(outcome, self._redactor),
            [dataclasses.asdict(change) for change in changes],
            with_last_event(self._events.pending_batch(), status, fields.get("error_code")),
            self._turn_result(outcome, status, fields),
            self._owner,
        )

    @property
    def _owner(self) -> str | None:
        return self._context.database.server if self._context.uses_engine else None

    def _turn_result(self, outcome: Outcome, status: TaskStatus, fields: Json) -> TurnResult | None:
        if self.turn is None:
            return None
        tracker = self._events.usage
        used = tracker.record(outcome.failure) if tracker else None
        ended = turn_result(self.turn, outcome, status, fields, self._redactor)
        return replace(ended, usage=used)

    def _finish(self, result: FinishedTask) -> bool:
        stored = result.store(self._context.database)
        self._events.mark_stored(result.batch)
        self._note_next_turn(stored)
        log.info(
            "task ended" if stored else "late result dropped",
            action="task.ended",
            status=str(result.status),
            code=result.error_code,
            reason=result.fields.get("error"),
        )
        return stored is not None

    def _note_next_turn(self, stored: Task | None) -> None:
        self.next_turn_waits = stored is not None and stored.status is TaskStatus.PENDING
        self.has_ended = stored is not None and not self.next_turn_waits
        if stored is not None and stored.status is TaskStatus.COMPLETED and stored.auto_pr:
            self._context.pull_is_due.set()

    def _record_metrics(self, result: FinishedTask, task: Task, outcome: Outcome) -> None:
        metrics, details = self._context.metrics, outcome.agent_details
        metrics.task_ended(str(result.status), task.agent, result.error_code)
        metrics.agent_used(task.agent, details.get("usage", {}), details.get("cost_usd"))
        if self._events.usage and result.turn and result.turn.usage:
            self._events.usage.count(result.turn.usage)
        for timing in outcome.timings:
            metrics.stage_finished(str(timing.stage), timing.seconds)


def with_last_event(batch: EventBatch, status: TaskStatus, error_code: str | None) -> EventBatch:
    """Append the event that tells readers of the log that the task has ended."""
    return dataclasses.replace(batch, events=(*batch.events, last_event(status, error_code)))


def requeue_task(database: Database, task: Task) -> None:
    """Return a running task to the queue without counting the attempt.

    Neither a shutdown of the server nor a lack of sandboxes is the task's fault.
    """
    queued = database.move_task(
        task.id,
        {TaskStatus.RUNNING},
        TaskStatus.PENDING,
        attempt=task.attempt - 1,
        stage=None,
        started_at=None,
    )
    if queued:
        log.info("task requeued", action="task.requeued")


def mark_failed(
    database: Database, task_id: int, message: str, stage: str | None, *, code: str
) -> None:
    """Set a running task without an outcome to failed."""
    database.move_task(
        task_id,
        {TaskStatus.RUNNING},
        TaskStatus.FAILED,
        error=message,
        error_code=code,
        error_stage=stage,
    )


def final_status(failure: AppError | None) -> TaskStatus:
    """Return the final status of a task."""
    if failure is None:
        return TaskStatus.COMPLETED
    if isinstance(failure, TaskStopped) and failure.code in {CANCELLED, INTERRUPTED}:
        return TaskStatus.CANCELLED
    return TaskStatus.FAILED


def result_fields(
    task: Task,
    outcome: Outcome,
    container_id: str,
    agents: Agents,
    redactor: Redactor,
    turn: Turn | None = None,
) -> Json:
    """Return the columns to store together with the final status."""
    changes, failure = outcome.changes, outcome.failure
    fields: Json = {
        "container_id": container_id or None,
        "execution_metadata": redactor.redact_values(
            _metadata(task, outcome, agents.choose(task.agent), turn)
        ),
    }
    if changes:
        fields |= {
            "commit_hash": changes.commit_hash,
            "git_diff": changes.diff,
            "git_patch": changes.patch,
            "changed_files": list(changes.changed_files),
        }
    if failure:
        fields |= {
            "error": redactor.redact(failure.message),
            "error_code": failure.code,
            "error_stage": failure.stage,
        }
    return fields


def turn_result(
    turn: Turn, outcome: Outcome, status: TaskStatus, fields: Json, redactor: Redactor
) -> TurnResult:
    """Return the ended turn with its own changes; `fields` are the columns of its task."""
    failure, own = outcome.failure, list(outcome.own_of_all.values())
    read, diff = outcome.own or outcome.changes, _diff_of_turn(outcome, fields)
    ended = replace(
        turn,
        status=TurnStatus(status),
        agent_exit_code=outcome.agent_exit_code,
        **usage_of(outcome.agent_details),
        tree_before=outcome.tree_before or None,
        tree_after=read.tree_hash if read else None,
        has_diff=bool(diff),
        files=sum(len(one.changed_files) for one in own) if own else None,
        additions=sum(one.additions for one in own) if own else None,
        deletions=sum(one.deletions for one in own) if own else None,
        error=fields.get("error"),
        error_code=failure.code if failure else None,
        error_stage=failure.stage if failure else None,
    )
    is_cancelled = status is TaskStatus.CANCELLED and ended.error_code != INTERRUPTED
    repositories = [
        _repository_columns(position, one, redactor)
        for position, one in enumerate(outcome.further, start=1)
    ]
    return TurnResult(ended, diff, goes_on=not is_cancelled, repositories=repositories)


def _diff_of_turn(outcome: Outcome, fields: Json) -> str | None:
    """Return the diff of a turn: of several repositories one after the other, with their names."""
    if not outcome.further:
        if outcome.own is outcome.changes:
            # The same text, not a copy of it.
            return fields.get("git_diff")
        return outcome.own.diff if outcome.own else None
    diffs = (f"# {name}\n{own.diff}" for name, own in outcome.own_of_all.items() if own.diff)
    return "".join(diffs) or None


def _repository_columns(position: int, one: RepositoryOutcome, redactor: Redactor) -> Json:
    """Return the columns that a run changes of a further repository."""
    columns: Json = {"position": position, "target_branch": one.branch}
    if changes := one.changes:
        columns |= {
            "base_commit": changes.base_commit,
            "tree_hash": changes.tree_hash,
            "commit_hash": changes.commit_hash,
            "changed_files": list(changes.changed_files),
            "additions": changes.additions,
            "deletions": changes.deletions,
            "notes": redactor.redact_values(list(changes.notes)),
            "secret_files": list(changes.secret_files),
            "has_patch": bool(changes.patch),
            "git_diff": changes.diff,
            "git_patch": changes.patch,
        }
    return columns


def _with_earlier(details: Json, earlier: Json) -> Json:
    """Return what an agent has told, with the tokens and the cost of earlier turns added."""
    added = dict(details)
    usage, before = details.get("usage"), earlier.get("usage")
    if isinstance(before, dict):
        now = usage if isinstance(usage, dict) else {}
        names = {**before, **now}
        added["usage"] = {name: now.get(name, 0) + before.get(name, 0) for name in names}
    if isinstance(earlier.get("cost_usd"), int | float):
        added["cost_usd"] = round(details.get("cost_usd", 0) + earlier["cost_usd"], 9)
    return added


def _metadata(task: Task, outcome: Outcome, agent: AgentSpec, turn: Turn | None) -> Json:
    queued_since = turn.created_at if turn else task.created_at
    queued_time = (task.started_at or queued_since) - queued_since
    earlier = (task.execution_metadata or {}) if turn and turn.number > 1 else {}
    kept = KEPT_FIELDS if outcome.changes is None else ()
    metadata: Json = {
        **({"turn": turn.number} if turn and turn.number > 1 else {}),
        **{name: earlier[name] for name in kept if name in earlier},
        **_with_earlier(outcome.agent_details, earlier),
        "simulated": agent.simulated,
        "agent_program": agent.name,
        "agent_exit_code": outcome.agent_exit_code,
        "attempt": task.attempt,
        "stage_seconds": {
            str(Stage.QUEUED): round(queued_time.total_seconds(), 4),
            **{str(timing.stage): timing.seconds for timing in outcome.timings},
        },
    }
    if changes := outcome.changes:
        metadata |= {
            "base_commit": changes.base_commit,
            "tree_hash": changes.tree_hash,
            "additions": changes.additions,
            "deletions": changes.deletions,
            "files_changed": len(changes.changed_files),
            "notes": [*outcome.notes, *changes.notes],
        }
        if changes.secret_files:
            metadata[FILES_FIELD] = list(changes.secret_files)
    elif outcome.notes:
        metadata["notes"] = list(outcome.notes)
    if outcome.check:
        metadata["check"] = dataclasses.asdict(outcome.check)
    asked = task.execution_metadata or {}
    return metadata | {name: asked[name] for name in ASKED_FIELDS if name in asked}


def closing_message(outcome: Outcome, redactor: Redactor) -> Json | None:
    """Return the last message of the conversation: the agent's summary, and why it ended early.

    None when there is neither.
    """
    text = "\n\n".join(part for part in (outcome.summary, _early_end(outcome)) if part)
    if not text:
        return None
    return {
        "role": "assistant",
        "content": redactor.redact(text),
        "timestamp": datetime.now(UTC).isoformat(),
    }


def _early_end(outcome: Outcome) -> str:
    failure = outcome.failure
    if failure is None:
        return ""
    reason = failure.message
    if failure.code not in {CANCELLED, INTERRUPTED}:
        reason = f"The task failed: {reason}"
    changes = [*outcome.own_of_all.values()] or ([outcome.changes] if outcome.changes else [])
    count = sum(len(one.changed_files) for one in changes)
    if not count:
        return f"{reason} It has changed nothing."
    files = "1 file" if count == 1 else f"{count} files"
    return f"{reason} Its changes up to then are stored: {files}."
