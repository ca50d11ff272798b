"""Limits how many requests of this server wait for GitHub and git hosts at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from utils.errors import Unavailable
from utils.github.refusal import busy

MAX_SLOTS = 8


class ConcurrencyLimiter:
    """Has a few slots, so that slow requests to other hosts leave threads for the others."""

    def __init__(self, request_threads: int) -> None:
        """Use at most half of the threads that answer requests."""
        self._slots = BoundedSemaphore(max(1, min(MAX_SLOTS, request_threads // 2)))

    @contextmanager
    def slot(self, wait_seconds: float = 0) -> Iterator[None]:
        """Hold a slot during the block. Raise `Unavailable` (`github_busy`) when all are taken."""
        if not self._slots.acquire(timeout=wait_seconds):
            raise too_many_requests()
        try:
            yield
        finally:
            self._slots.release()


def too_many_requests() -> Unavailable:
    """Return the error for a request to another host beside too many others."""
    return busy("Too many requests of this server are waiting for repository hosts")
