"""Streams the changes of all tasks of a user, so that a list of tasks needs no polling."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, Protocol

from utils.errors import NotFound
from utils.models.tasks import ACTIVE_STATUSES, Task, TaskFilter, TaskStatus, TaskSummary
from utils.streams.reading import StreamContext
from utils.streams.server_sent import COMMENT, PREAMBLE, Chunks, event_block

PAGE_TASKS = 100
QUEUE_SECONDS = 2.0
"""Time between two looks at the queue, which changes without a change of the waiting tasks."""

AnyTask = Task | TaskSummary
Encode = Callable[[AnyTask], Any]


class Queue(Protocol):
    """The part of the dispatcher that knows why tasks wait."""

    def queue_positions(self, user_id: str) -> dict[int, int]:
        """Return the places of a user's queued tasks, 1 for the next one."""

    @property
    def waiting_reason(self) -> str | None:
        """The reason why tasks wait although fewer run than allowed."""


class UserStream:
    """Reads the active tasks of a user, then each task that changes."""

    def __init__(self, context: StreamContext, user_id: str, queue: Queue, encode: Encode) -> None:
        self._context = context
        self._user_id = user_id
        self._queue = queue
        self._encode = encode
        self._pending: set[int] = set()
        self._last_queue: Any = None
        self._last_blocks: dict[int, bytes] = {}

    def active_tasks(self) -> list[TaskSummary]:
        """Return all waiting and running tasks of the user, the oldest first."""
        tasks = [task for status in ACTIVE_STATUSES for task in self._tasks_with(status)]
        return sorted(tasks, key=lambda task: task.id)

    async def chunks(self) -> Chunks:
        """Yield blocks of changes until the stream is old; a client then connects again."""
        context = self._context
        listening = context.changes.subscribe(user_id=self._user_id)
        with context.opened() as pulse, listening as subscription:
            yield PREAMBLE
            yield await self._beginning()
            while not pulse.is_over:
                if queue := await context.read_patiently(self._queue_block):
                    yield queue
                longest = QUEUE_SECONDS if self._pending else pulse.seconds_left
                changed = await subscription.wait(min(pulse.seconds_left, longest))
                if changed and (block := await self._changes(changed)):
                    yield block
                if pulse.take_comment():
                    yield COMMENT

    async def _beginning(self) -> bytes:
        tasks = await self._context.read_patiently(self.active_tasks)
        return b"".join(map(self._block, tasks)) + event_block("ready", {})

    async def _changes(self, task_ids: Collection[int]) -> bytes:
        read = self._context.read_patiently
        return b"".join([await read(self._read_now, task_id) for task_id in sorted(task_ids)])

    def _read_now(self, task_id: int) -> bytes:
        try:
            task = self._context.database.get_task_status(self._user_id, task_id)
        except NotFound:
            self._pending.discard(task_id)
            return event_block("task", {"id": task_id, "status": "deleted"})
        return self._block(task)

    def _block(self, task: AnyTask) -> bytes:
        if task.status is TaskStatus.PENDING:
            self._pending.add(task.id)
        else:
            self._pending.discard(task.id)
        block = event_block("task", self._encode(task))
        is_new = self._last_blocks.get(task.id) != block
        self._last_blocks[task.id] = block
        return block if is_new else b""

    def _queue_block(self) -> bytes:
        """Return the places of the waiting tasks when they have changed."""
        positions = self._queue.queue_positions(self._user_id) if self._pending else {}
        state = {"positions": positions, "waiting_reason": self._queue.waiting_reason}
        if not positions or state == self._last_queue:
            return b""
        self._last_queue = state
        return event_block("queue", state)

    def _tasks_with(self, status: TaskStatus) -> Iterator[TaskSummary]:
        cursor: int | None = None
        while True:
            page = self._context.database.list_tasks(
                self._user_id, wanted=TaskFilter(status), limit=PAGE_TASKS, cursor=cursor
            )
            yield from page.tasks
            cursor = page.next_cursor
            if cursor is None:
                return
