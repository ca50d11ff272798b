"""Threads for requests: few at a time, and more as soon as those are held up.

Python runs one thread at a time. Many runnable threads take the interpreter lock from each other at
every read and write, which makes each response half as expensive again.
"""

from __future__ import annotations

import asyncio
import math
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

ENDED = -math.inf
"""Stands for the time at which a thread began that has nothing to do."""

Work = Callable[[], Answer]
Done = Callable[[Answer], None]
Task = tuple[Work, Done]


class AdaptiveThreadPool:
    """Runs functions in threads, in order, and hands their results to the event loop.

    All methods are called on the event loop. A thread that is done takes the next function itself,
    and the loop is woken once for all results that are there: to wake a thread costs as much as a
    tenth of a request.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(most, "request")
        self._waiting: deque[Task] = deque()
        self._answers: deque[tuple[Answer, Done]] = deque()
        self._is_delivery_due = False
        # By thread at work. Only the loop adds and removes keys, threads change their own value.
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
        while len(self._started_at) < self._most and self._lacks_quick_threads():
            if (taken := self._next()) is None:
                break
            key = object()
            self._started_at[key] = time.monotonic()
            self._executor.submit(self._run, key, taken)
        if self._waiting and self._timer is None:
            self._timer = self._loop.call_later(BLOCKED_SECONDS, self._start_more)

    def _start_more(self) -> None:
        self._timer = None
        self._start()

    def _lacks_quick_threads(self) -> bool:
        late = time.monotonic() - BLOCKED_SECONDS
        return sum(began > late for began in tuple(self._started_at.values())) < QUICK_THREADS

    def _next(self) -> Task | None:
        try:
            return self._waiting.popleft()
        except IndexError:  # a thread was faster
            return None

    def _run(self, key: object, taken: Task | None) -> None:
        with suppress(RuntimeError):  # the loop is closed when a server ends without waiting
            while taken is not None:
                work, done = taken
                self._answers.append((work(), done))
                if not self._is_delivery_due:
                    self._is_delivery_due = True
                    self._loop.call_soon_threadsafe(self._deliver)
                taken = self._take(key)
            self._loop.call_soon_threadsafe(self._finish, key)

    def _take(self, key: object) -> Task | None:
        """Return what a thread does next; None when nothing waits or others are quick enough."""
        self._started_at[key] = ENDED
        if self._lacks_quick_threads() and (taken := self._next()) is not None:
            self._started_at[key] = time.monotonic()
            return taken
        return None

    def _deliver(self) -> None:
        # A thread that appends an answer from now on asks for another delivery.
        self._is_delivery_due = False
        for _ in range(len(self._answers)):
            answer, done = self._answers.popleft()
            # Not called here: an error with one answer would hold up the others.
            self._loop.call_soon(done, answer)

    def _finish(self, key: object) -> None:
        del self._started_at[key]
        self._start()
