"""Decides whether more tasks may start, from how opening sandboxes went lately."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import monotonic

from utils.errors import SandboxError, SandboxQuotaExceeded, SandboxUnavailable

FAILURES_TO_OPEN = 3
FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0
QUOTA_PAUSE_SECONDS = 5.0
SHORTEST_WAIT_SECONDS = 0.2


class StartGate:
    """A circuit breaker that also knows quotas.

    After several failures in a row no task starts for a while, then one does as a probe: when it
    gets its sandbox all may start again, otherwise the pause doubles. When the cloud says that its
    quota is reached, no more sandboxes are asked for than there were; one more is tried now and
    then. Used on the event loop's thread; only the reason is read by others.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.reason: str | None = None
        self._clock = clock
        self._open_sandboxes = 0
        self._failures = 0
        self._closed_until = 0.0
        self._probing = False
        self._places: int | None = None

    @property
    def is_tripped(self) -> bool:
        """Whether the breaker is open: sandboxes cannot be had at all."""
        return self._failures >= FAILURES_TO_OPEN

    def may_start(self) -> bool:
        """Whether a task may ask for a sandbox now; the caller then calls `starting`."""
        if self.reason is None:
            return True
        if self._places is not None and self._open_sandboxes < self._places:
            return not self._probing or not self.is_tripped
        return not self._probing and self._clock() >= self._closed_until

    def wait_seconds(self) -> float | None:
        """Return when to ask again, in seconds; None when nothing is in the way."""
        if self.reason is None:
            return None
        return max(self._closed_until - self._clock(), SHORTEST_WAIT_SECONDS)

    def starting(self) -> None:
        """A task is about to ask for a sandbox."""
        self._open_sandboxes += 1
        self._probing = self._probing or self.reason is not None

    def opened(self) -> None:
        """It got one."""
        self._probing = False
        # One more than the quota allowed lately: it has grown, or others have let go.
        grown = self._places is not None and self._open_sandboxes > self._places
        if grown or self.is_tripped or self._places is None:
            self.reason = self._places = None
        self._failures = 0

    def refused(self, error: SandboxError) -> None:
        """It got none."""
        self._probing = False
        if isinstance(error, SandboxQuotaExceeded):
            self._failures = 0
            self._places = max(self._open_sandboxes - 1, 0)
            self._pause(QUOTA_PAUSE_SECONDS, f"waiting: {error.message}")
        elif isinstance(error, SandboxUnavailable):
            self._failures += 1
            if self.is_tripped:
                doublings = self._failures - FAILURES_TO_OPEN
                seconds = min(FIRST_PAUSE_SECONDS * 2**doublings, LONGEST_PAUSE_SECONDS)
                self._pause(seconds, f"waiting: {error.message}")

    def closed(self) -> None:
        """A task that was starting has ended, with or without a sandbox."""
        self._open_sandboxes -= 1

    def _pause(self, seconds: float, reason: str) -> None:
        self.reason = reason
        self._closed_until = self._clock() + seconds * random.uniform(0.8, 1.2)  # noqa: S311
