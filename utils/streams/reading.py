"""Holds what all streams of a server share: the database, its changes, limits and threads."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from database import Database
from utils.config.settings import Settings
from utils.database.changes import Changes
from utils.errors import DatabaseUnavailable, Unavailable

READ_THREADS = 8
"""Reads of the database that all streams together make at once."""

COMMENT_SECONDS = 10.0
"""Time between two comments, which show proxies and clients that a stream is alive."""

LIFETIME_SECONDS = 900.0
"""Time after which a client has to connect again, so that a revoked key does not read for ever."""

DATABASE_RETRY_SECONDS = 2.0

Result = TypeVar("Result")


class Pulse:
    """Tells an open stream when its next comment is due, and when it has to end."""

    def __init__(self, comment_seconds: float, lifetime_seconds: float) -> None:
        self._comment_seconds = comment_seconds
        self._ends_at = time.monotonic() + lifetime_seconds
        self._next_comment = time.monotonic() + comment_seconds

    @property
    def is_over(self) -> bool:
        """True when the stream has to end."""
        return time.monotonic() >= self._ends_at

    @property
    def seconds_left(self) -> float:
        """The seconds until the next comment is due."""
        return max(self._next_comment - time.monotonic(), 0)

    def take_comment(self) -> bool:
        """Tell whether a comment is due; the next one is due later then."""
        if self.seconds_left:
            return False
        self._next_comment = time.monotonic() + self._comment_seconds
        return True


class StreamContext:
    """Counts the open streams and reads rows for them. Used on the event loop of the server."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        *,
        comment_seconds: float = COMMENT_SECONDS,
        lifetime_seconds: float = LIFETIME_SECONDS,
    ) -> None:
        self.database = database
        self._comment_seconds = comment_seconds
        self._lifetime_seconds = lifetime_seconds
        self._max_streams = settings.max_streams
        self.open_streams = 0
        self._waiting: Counter[str] = Counter()

    @property
    def changes(self) -> Changes:
        """The changes of the tasks in the database."""
        return self.database.changes

    def check_room(self) -> None:
        """Raise `Unavailable` when as many streams are open as the server allows."""
        if self.open_streams >= self._max_streams:
            raise Unavailable(
                f"This server has {self._max_streams} open streams, which is its limit "
                "(MAX_STREAMS). Close streams that you do not need, or try again later.",
                "too_many_streams",
            )

    @contextmanager
    def opened(self) -> Iterator[Pulse]:
        """Count a stream while it is open; yield its pulse."""
        self.open_streams += 1
        try:
            yield Pulse(self._comment_seconds, self._lifetime_seconds)
        finally:
            self.open_streams -= 1

    def has_room(self, user_id: str, most_of_user: int) -> bool:
        """Tell whether one more request of a user may wait."""
        return self._waiting[user_id] < most_of_user and self.open_streams < self._max_streams

    @contextmanager
    def waiting(self, user_id: str) -> Iterator[None]:
        """Count a request of a user while it waits, as a stream."""
        self.open_streams += 1
        self._waiting[user_id] += 1
        try:
            yield
        finally:
            self.open_streams -= 1
            self._waiting[user_id] -= 1
            if not self._waiting[user_id]:
                del self._waiting[user_id]

    async def read(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Run a blocking read in a thread."""
        return await to_thread.run_sync(work, *arguments, limiter=self._limiter)

    async def read_patiently(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Run a blocking read in a thread, again and again while the database is unavailable."""
        while True:
            try:
                return await self.read(work, *arguments)
            except DatabaseUnavailable:
                await self.pause()

    async def pause(self) -> None:
        """Wait before the next attempt to reach an unavailable database."""
        await anyio.sleep(DATABASE_RETRY_SECONDS)

    @cached_property
    def _limiter(self) -> CapacityLimiter:
        # Belongs to the event loop on which it is made.
        return CapacityLimiter(READ_THREADS)
