"""A thread pool for requests: uses few threads, and more as soon as those are blocked.

Python runs one thread at a time. Many runnable threads take the interpreter lock from each other at
every read and write, which makes each response half as expensive again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

QUICK_THREADS = 2
"""Threads that run at the same time while each of them finishes within `BLOCKED_SECONDS`."""

BLOCKED_SECONDS = 0.004
"""After this time a thread counts as blocked, and another thread may run.

So at least `QUICK_THREADS / BLOCKED_SECONDS` requests start in each second, however long they
take, until all threads are busy.
"""

Work = Callable[[], object]


class AdaptiveThreadPool:
    """Runs submitted functions in order of submission. They must not raise exceptions."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._work: deque[Work] = deque()
        self._idle: list[_Thread] = []
        self._started_at: dict[_Thread, float] = {}
        self._drained = threading.Lock()
        self._drained.acquire()
        self._is_watched = False
        self._ending = False

    def submit(self, work: Work) -> None:
        """Run a function in the next free thread."""
        with self._lock:
            self._work.append(work)
            self._start_thread()

    def wait_until_started(self) -> None:
        """Wait until all submitted functions have started, `BLOCKED_SECONDS` at most.

        The submitting thread waits here, so that it takes the interpreter lock once for several
        requests.
        """
        with self._lock:
            if not self._work:
                return
            self._is_watched = True
        if not self._drained.acquire(timeout=BLOCKED_SECONDS):
            with self._lock:
                if self._is_watched:
                    self._is_watched = False
                else:
                    self._drained.acquire()

    def start_more_threads(self) -> None:
        """Start another thread if functions wait for blocked threads. To be called often."""
        if self._work:
            with self._lock:
                self._start_thread()

    def wait_limit(self, seconds: float) -> float:
        """Return the seconds until `start_more_threads` must be called, `seconds` at most."""
        return min(seconds, BLOCKED_SECONDS) if self._work else seconds

    def shutdown(self, *, wait: bool) -> None:  # noqa: ARG002
        """End each thread as soon as no function is left for it."""
        with self._lock:
            self._ending = True
            while self._idle:
                self._idle.pop().turn.release()

    def next_work(self, thread: _Thread) -> Work | None:
        """Return the next function for a thread, None if the thread is not needed now."""
        with self._lock:
            self._started_at.pop(thread, None)
            if self._work and (self._ending or self._lacks_quick_threads()):
                self._started_at[thread] = time.monotonic()
                work = self._work.popleft()
                if self._is_watched and not self._work:
                    self._is_watched = False
                    self._drained.release()
                return work
            if not self._ending:
                self._idle.append(thread)
            return None

    def is_shut_down(self) -> bool:
        """Tell whether threads without work end."""
        return self._ending

    def _start_thread(self) -> None:
        if len(self._started_at) >= self._most or not (self._work and self._lacks_quick_threads()):
            return
        thread = self._idle.pop() if self._idle else _Thread(self)
        self._started_at[thread] = time.monotonic()
        thread.turn.release()

    def _lacks_quick_threads(self) -> bool:
        if len(self._started_at) < QUICK_THREADS:
            return True
        late = time.monotonic() - BLOCKED_SECONDS
        return sum(began > late for began in self._started_at.values()) < QUICK_THREADS


class _Thread:
    def __init__(self, threads: AdaptiveThreadPool) -> None:
        self.turn = threading.Semaphore(0)
        self._threads = threads
        threading.Thread(target=self._run, name="request").start()

    def _run(self) -> None:
        while True:
            self.turn.acquire()
            while work := self._threads.next_work(self):
                work()
            if self._threads.is_shut_down():
                return
