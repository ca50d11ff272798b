"""Decides whether more tasks may start, from how opening sandboxes went lately."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import monotonic

from utils.dispatcher.start_rate import StartRateLimiter
from utils.errors import SandboxError, SandboxQuotaExceeded, SandboxUnavailable

FAILURES_TO_OPEN = 3
FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0
QUOTA_PAUSE_SECONDS = 5.0
SHORTEST_WAIT_SECONDS = 0.2

QUOTA_MEMORY_SECONDS = 60.0
"""After so long without a refusal a quota is forgotten."""


class AdmissionController:
    """A circuit breaker that also knows quotas.

    After several failures in a row no task starts for a while, then one does as a probe: when it
    gets its sandbox all may start again, otherwise the pause doubles. When the cloud says that its
    quota is reached, no more sandboxes are asked for than this server had; after a pause one more
    is tried as a probe, and while that succeeds the next one at once. With `paced`, many start at
    a pace.

    Tasks are told apart by their ids: many may have asked before the first was refused, and what
    comes of those says nothing about the probe. Used on the event loop's thread; `reason` and
    `is_tripped` may be read by others.
    """

    def __init__(self, clock: Callable[[], float] = monotonic, *, paced: bool = False) -> None:
        self.failures = 0
        self._clock = clock
        self._pace = StartRateLimiter(clock) if paced else None
        self._asking: set[int] = set()
        self._holding: set[int] = set()
        self._probe: int | None = None
        self._pause_ends = 0.0
        self._places = 0
        self._quota_forgotten = -1.0
        self._refusal = ""
        self._has_denied = False

    @property
    def is_tripped(self) -> bool:
        """Whether the breaker is open: sandboxes cannot be had at all."""
        return self.failures >= FAILURES_TO_OPEN

    @property
    def reason(self) -> str | None:
        """Why tasks have to wait, None when nothing is in the way."""
        return f"waiting: {self._refusal}" if self.is_tripped or self._has_quota else None

    @property
    def _has_quota(self) -> bool:
        return self._clock() < self._quota_forgotten

    @property
    def _is_pause_over(self) -> bool:
        return self._clock() >= self._pause_ends

    @property
    def _is_open(self) -> bool:
        has_place = len(self._asking | self._holding) < self._places
        return not self.is_tripped and (has_place or not self._has_quota)

    @property
    def _pace_seconds(self) -> float:
        return max(self._pace.wait_seconds(), 0.0) if self._pace else 0.0

    def may_start(self) -> bool:
        """Whether a task may ask for a sandbox now; the caller then calls `starting`."""
        may_probe = self._probe is None and self._is_pause_over
        may_start = self._pace_seconds <= 0 and (self._is_open or may_probe)
        self._has_denied = not may_start
        return may_start

    def wait_seconds(self) -> float | None:
        """Return when to ask again, in seconds; None when nothing is in the way.

        Never None when `may_start` was False: what was in the way may have gone since, and whoever
        was denied has to ask again all the same.
        """
        if self.reason is None:
            return self._pace_seconds or (SHORTEST_WAIT_SECONDS if self._has_denied else None)
        return max(self._pause_ends - self._clock(), SHORTEST_WAIT_SECONDS)

    def starting(self, task_id: int) -> None:
        """A task is about to ask for a sandbox."""
        if self._pace:
            self._pace.started()
        if not self._is_open:
            self._probe = task_id
        self._asking.add(task_id)

    def opened(self, task_id: int) -> None:
        """It got one."""
        was_probe = self._leave(task_id)
        self._holding.add(task_id)
        self.failures = 0
        if len(self._holding) > self._places:
            # The quota has grown, or others have let go.
            self._places = len(self._holding)
            if was_probe:
                self._pause_ends = self._clock()

    def refused(self, task_id: int, error: SandboxError) -> None:
        """It got none."""
        was_probe = self._leave(task_id)
        if isinstance(error, SandboxQuotaExceeded):
            self.failures = 0
            self._places = len(self._holding)
            self._quota_forgotten = self._clock() + QUOTA_MEMORY_SECONDS
            self._pause(QUOTA_PAUSE_SECONDS, error)
        elif isinstance(error, SandboxUnavailable) and (was_probe or not self.is_tripped):
            self.failures += 1
            if self.is_tripped:
                doublings = self.failures - FAILURES_TO_OPEN
                self._pause(min(FIRST_PAUSE_SECONDS * 2**doublings, LONGEST_PAUSE_SECONDS), error)

    def reachable(self) -> None:
        """The cloud answers, as another request has shown.

        That closes a breaker that nobody probes, as when no task waits. Where one waits its probe
        decides: a cloud may answer and have no sandboxes.
        """
        if self.is_tripped and self._probe is None and self._is_pause_over:
            self.failures = 0

    def closed(self, task_id: int) -> None:
        """A task that was starting has ended, with or without a sandbox."""
        self._leave(task_id)

    def _leave(self, task_id: int) -> bool:
        self._asking.discard(task_id)
        self._holding.discard(task_id)
        was_probe = self._probe == task_id
        if was_probe:
            self._probe = None
        return was_probe

    def _pause(self, seconds: float, error: SandboxError) -> None:
        self._refusal = error.message
        self._pause_ends = self._clock() + seconds * random.uniform(0.8, 1.2)  # noqa: S311
