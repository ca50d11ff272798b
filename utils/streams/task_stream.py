"""Streams the events of one task: those that are stored, then each new one, then the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from utils.errors import DatabaseUnavailable, NotFound
from utils.models.events import Event
from utils.models.tasks import TERMINAL_STATUSES
from utils.streams.reading import StreamContext
from utils.streams.server_sent import COMMENT, PREAMBLE, Chunks, event_block

PAGE_EVENTS = 200
"""Events that are read and sent at once; a slow client makes the server hold one page."""

Encode = Callable[[Event], Any]


@dataclass(frozen=True, slots=True)
class _News:
    """New events of a task. `ending` is the last block of the stream once the task has ended."""

    events: Sequence[Event] = ()
    ending: bytes | None = None

    @property
    def is_full_page(self) -> bool:
        return len(self.events) == PAGE_EVENTS

    @property
    def may_end(self) -> bool:
        """True when the status of the task has to be read: it may have ended."""
        return not self.events or any("status" in event.data for event in self.events)


class TaskStream:
    """Reads the events of a task after a given one, for a client that may see the task."""

    def __init__(
        self, context: StreamContext, user_id: str, task_id: int, after: int, encode: Encode
    ) -> None:
        self._context = context
        self._user_id = user_id
        self._task_id = task_id
        self._after = after
        self._encode = encode

    async def chunks(self) -> Chunks:
        """Yield blocks of events until the task has ended, or the stream is old.

        A client connects again with the number of its last event.
        """
        context = self._context
        listening = context.changes.subscribe(task_id=self._task_id)
        with context.opened() as pulse, listening as subscription:
            yield PREAMBLE
            news = _News()
            while not pulse.is_over:
                news = await self._read(may_end=news.may_end)
                if news.events:
                    yield b"".join(self._block(event) for event in news.events)
                    self._after = news.events[-1].sequence
                if news.ending is not None:
                    yield news.ending
                    return
                if pulse.take_comment():
                    yield COMMENT
                if not news.is_full_page and not (news.events and news.may_end):
                    await subscription.wait(pulse.seconds_left)

    async def _read(self, *, may_end: bool) -> _News:
        try:
            return await self._context.read(self._read_ending if may_end else self._read_more)
        except NotFound:
            return _News(ending=event_block("end", {"status": "deleted"}))
        except DatabaseUnavailable:
            await self._context.pause()
            return _News()

    def _read_ending(self) -> _News:
        # The status before the events: those of the end are stored together with it.
        status = self._context.database.get_task_status(self._user_id, self._task_id).status
        news = self._read_more()
        if status not in TERMINAL_STATUSES or news.is_full_page:
            return news
        return replace(news, ending=event_block("end", {"status": status}))

    def _read_more(self) -> _News:
        return _News(
            self._context.database.list_events(
                self._user_id, self._task_id, after=self._after, limit=PAGE_EVENTS
            )
        )

    def _block(self, event: Event) -> bytes:
        return event_block(event.kind, self._encode(event), event.sequence)
