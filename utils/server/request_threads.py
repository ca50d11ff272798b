"""The threads that answer requests: few at a time, more as soon as those few are held up.

Python runs one thread at a time. Threads that are all ready to run only take the interpreter from
each other, at every read and write, and each answer costs half as much again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

QUICK_THREADS = 2
"""Threads that work at the same time, as long as each of them is done within `PATIENCE_SECONDS`."""

PATIENCE_SECONDS = 0.004
"""After that long a thread is taken to be waiting for something, and another one gets its turn.

So at least `QUICK_THREADS / PATIENCE_SECONDS` requests are begun in a second, however long they
take, until all threads are busy.
"""

Work = Callable[[], object]


class AdaptiveThreadPool:
    """Runs what is handed in, first come first served. Work must not raise."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._work: deque[Work] = deque()
        self._idle: list[_Thread] = []
        self._began: dict[_Thread, float] = {}
        self._drained = threading.Lock()
        self._drained.acquire()
        self._is_watched = False
        self._ending = False

    def submit(self, work: Work) -> None:
        """Have work done by the next thread that is free."""
        with self._lock:
            self._work.append(work)
            self._call_another()

    def wait_until_begun(self) -> None:
        """Return when all work has been begun, and after `PATIENCE_SECONDS` in any case.

        Who hands work in waits here, so that it takes the interpreter once for several requests.
        """
        with self._lock:
            if not self._work:
                return
            self._is_watched = True
        if not self._drained.acquire(timeout=PATIENCE_SECONDS):
            with self._lock:
                if self._is_watched:
                    self._is_watched = False
                else:
                    self._drained.acquire()

    def relieve(self) -> None:
        """Call another thread if work waits for ones that are held up. To be called often."""
        if self._work:
            with self._lock:
                self._call_another()

    def patience(self, seconds: float) -> float:
        """Return how long `relieve` need not be called, `seconds` at most."""
        return min(seconds, PATIENCE_SECONDS) if self._work else seconds

    def shutdown(self, *, wait: bool) -> None:  # noqa: ARG002
        """End each thread as soon as no work is left for it."""
        with self._lock:
            self._ending = True
            while self._idle:
                self._idle.pop().turn.release()

    def next_for(self, thread: _Thread) -> Work | None:
        """Return what a thread does next, None if it is not needed now."""
        with self._lock:
            self._began.pop(thread, None)
            if self._work and (self._ending or self._lacks_quick_threads()):
                self._began[thread] = time.monotonic()
                work = self._work.popleft()
                if self._is_watched and not self._work:
                    self._is_watched = False
                    self._drained.release()
                return work
            if not self._ending:
                self._idle.append(thread)
            return None

    def is_over(self) -> bool:
        """Return True when idle threads end."""
        return self._ending

    def _call_another(self) -> None:
        if len(self._began) >= self._most or not (self._work and self._lacks_quick_threads()):
            return
        thread = self._idle.pop() if self._idle else _Thread(self)
        self._began[thread] = time.monotonic()
        thread.turn.release()

    def _lacks_quick_threads(self) -> bool:
        if len(self._began) < QUICK_THREADS:
            return True
        late = time.monotonic() - PATIENCE_SECONDS
        return sum(began > late for began in self._began.values()) < QUICK_THREADS


class _Thread:
    def __init__(self, threads: AdaptiveThreadPool) -> None:
        self.turn = threading.Semaphore(0)
        self._threads = threads
        threading.Thread(target=self._run, name="request").start()

    def _run(self) -> None:
        while True:
            self.turn.acquire()
            while work := self._threads.next_for(self):
                work()
            if self._threads.is_over():
                return
