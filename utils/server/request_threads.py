"""Threads for requests: few at a time, and more as soon as those are held up.

Python runs one thread at a time. Many runnable threads take the interpreter lock from each other at
every read and write, which makes each response half as expensive again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from utils.server.answers import Answer

QUICK_THREADS = 2
"""Threads that run at the same time while each of them finishes within `BLOCKED_SECONDS`."""

BLOCKED_SECONDS = 0.004
"""After this time a thread counts as blocked, and another thread may run.

So at least `QUICK_THREADS / BLOCKED_SECONDS` requests start in each second, however long they
take, until all threads are busy.
"""

Work = Callable[[], Answer]
Done = Callable[[Answer], None]


class AdaptiveThreadPool:
    """Runs functions in threads, in order, and hands their results to the event loop.

    All methods are called on the event loop.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(most, "request")
        self._waiting: deque[tuple[Work, Done]] = deque()
        self._started_at: dict[object, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def submit(self, work: Work, done: Done) -> None:
        """Run `work` in the next free thread, then `done` with its result on the event loop."""
        self._waiting.append((work, done))
        self._start()

    def close(self) -> None:
        """End each thread as soon as it is done."""
        self._executor.shutdown(wait=False)

    def _start(self) -> None:
        while self._waiting and len(self._started_at) < self._most and self._lacks_quick_threads():
            work, done = self._waiting.popleft()
            key = object()
            self._started_at[key] = time.monotonic()
            self._executor.submit(self._run, key, work, done)
        if self._waiting and self._timer is None:
            self._timer = self._loop.call_later(BLOCKED_SECONDS, self._start_more)

    def _start_more(self) -> None:
        self._timer = None
        self._start()

    def _lacks_quick_threads(self) -> bool:
        if len(self._started_at) < QUICK_THREADS:
            return True
        late = time.monotonic() - BLOCKED_SECONDS
        return sum(began > late for began in self._started_at.values()) < QUICK_THREADS

    def _run(self, key: object, work: Work, done: Done) -> None:
        answer = work()
        with suppress(RuntimeError):  # the loop is closed when a server ends without waiting
            self._loop.call_soon_threadsafe(self._finish, key, answer, done)

    def _finish(self, key: object, answer: Answer, done: Done) -> None:
        del self._started_at[key]
        self._start()
        done(answer)
