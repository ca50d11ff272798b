"""Decides whether another task may start: a circuit breaker, a learned quota and a rate limit.

Also lets only one task at a time use a login that its program renews.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic

import anyio

from utils.errors import SandboxError, SandboxQuotaExceeded, SandboxUnavailable
from utils.pipeline.stop_request import StopRequest

FAILURES_TO_TRIP = 3
FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0
QUOTA_PAUSE_SECONDS = 5.0
SHORTEST_WAIT_SECONDS = 0.2

QUOTA_EXPIRY_SECONDS = 60.0
"""A learned quota is dropped when no request was refused for this long."""

BURST_STARTS = 20
STARTS_PER_SECOND = 20.0


class AdmissionController:
    """Admits tasks according to the results of earlier sandbox requests.

    Circuit breaker: after several failures in a row no task starts during a pause. Then one task
    starts as a probe. If it gets a sandbox, the breaker closes; otherwise the pause doubles.

    Quota: when the provider refuses a sandbox because its quota is reached, this server opens no
    more sandboxes than it had at that moment. After a pause one task starts as a probe. If it gets
    a sandbox, the quota grows by one and the next probe may follow at once.

    Rate limit: with `paced`, starts are limited to `STARTS_PER_SECOND` after a first burst.

    Tasks are identified by their ids, because several may have asked before the first refusal;
    their results must not be taken for the result of the probe. All methods run in the thread of
    the event loop; other threads may read `reason` and `is_tripped`.
    """

    def __init__(self, clock: Callable[[], float] = monotonic, *, paced: bool = False) -> None:
        self.failures = 0
        self._clock = clock
        self._rate_limiter = StartRateLimiter(clock) if paced else None
        self._opening: set[int] = set()
        self._holding: set[int] = set()
        self._probe: int | None = None
        self._pause_ends_at = 0.0
        self._quota = 0
        self._quota_expires_at = -1.0
        self._refusal_message = ""
        self._was_denied = False

    @property
    def is_tripped(self) -> bool:
        """True while the breaker is open: the provider cannot open sandboxes."""
        return self.failures >= FAILURES_TO_TRIP

    @property
    def reason(self) -> str | None:
        """The reason why tasks wait; None when the provider accepts requests."""
        return f"waiting: {self._refusal_message}" if self.is_tripped or self._has_quota else None

    @property
    def _has_quota(self) -> bool:
        return self._clock() < self._quota_expires_at

    @property
    def _is_pause_over(self) -> bool:
        return self._clock() >= self._pause_ends_at

    @property
    def _admits_all(self) -> bool:
        is_below_quota = len(self._opening | self._holding) < self._quota
        return not self.is_tripped and (is_below_quota or not self._has_quota)

    @property
    def _rate_limit_seconds(self) -> float:
        return max(self._rate_limiter.wait_seconds(), 0.0) if self._rate_limiter else 0.0

    def may_start(self) -> bool:
        """Tell whether a task may request a sandbox now; if so, call `record_start` next."""
        may_probe = self._probe is None and self._is_pause_over
        may_start = self._rate_limit_seconds <= 0 and (self._admits_all or may_probe)
        self._was_denied = not may_start
        return may_start

    def most_starts(self) -> int:
        """Return the number of tasks that may request a sandbox now; see `may_start`."""
        if not self.may_start():
            return 0
        if not self._admits_all:
            return 1  # the probe
        most = self._rate_limiter.most_starts() if self._rate_limiter else BURST_STARTS
        below_quota = self._quota - len(self._opening | self._holding)
        return min(most, below_quota) if self._has_quota else most

    def wait_seconds(self) -> float | None:
        """Return the seconds until `may_start` should be called again; None when it need not.

        Never None after `may_start` returned False: the obstacle may have gone since then, and the
        denied caller still has to ask again.
        """
        if self.reason is None:
            return self._rate_limit_seconds or (SHORTEST_WAIT_SECONDS if self._was_denied else None)
        return max(self._pause_ends_at - self._clock(), SHORTEST_WAIT_SECONDS)

    def record_start(self, task_id: int) -> None:
        """Record that a task is about to request a sandbox."""
        if self._rate_limiter:
            self._rate_limiter.record_start()
        if not self._admits_all:
            self._probe = task_id
        self._opening.add(task_id)

    def record_opened(self, task_id: int) -> None:
        """Record that a task received its sandbox."""
        was_probe = self._remove(task_id)
        self._holding.add(task_id)
        self.failures = 0
        if len(self._holding) > self._quota:
            # The quota was raised, or other clients of the account have closed sandboxes.
            self._quota = len(self._holding)
            if was_probe:
                self._pause_ends_at = self._clock()

    def record_refusal(self, task_id: int, error: SandboxError) -> None:
        """Record that a task received no sandbox."""
        was_probe = self._remove(task_id)
        if isinstance(error, SandboxQuotaExceeded):
            self.failures = 0
            self._quota = len(self._holding)
            self._quota_expires_at = self._clock() + QUOTA_EXPIRY_SECONDS
            self._pause(QUOTA_PAUSE_SECONDS, error)
        elif isinstance(error, SandboxUnavailable) and (was_probe or not self.is_tripped):
            self.failures += 1
            if self.is_tripped:
                doublings = self.failures - FAILURES_TO_TRIP
                self._pause(min(FIRST_PAUSE_SECONDS * 2**doublings, LONGEST_PAUSE_SECONDS), error)

    def record_reachable(self) -> None:
        """Record that the provider answered another request than one for a sandbox.

        Closes the breaker if no probe is running and the pause is over. A running probe decides
        alone: a provider may answer and still have no sandboxes.
        """
        if self.is_tripped and self._probe is None and self._is_pause_over:
            self.failures = 0

    def record_end(self, task_id: int) -> None:
        """Record that a started task has ended, with or without a sandbox."""
        self._remove(task_id)

    def _remove(self, task_id: int) -> bool:
        self._opening.discard(task_id)
        self._holding.discard(task_id)
        was_probe = self._probe == task_id
        if was_probe:
            self._probe = None
        return was_probe

    def _pause(self, seconds: float, error: SandboxError) -> None:
        self._refusal_message = error.message
        self._pause_ends_at = self._clock() + seconds * random.uniform(0.8, 1.2)  # noqa: S311


class StartRateLimiter:
    """Lets `BURST_STARTS` tasks start at once, and further ones at `STARTS_PER_SECOND`.

    Hundreds of tasks that start together slow each other down in every stage and need more memory
    and threads than the same tasks one after the other.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next_start_at = clock() - BURST_STARTS / STARTS_PER_SECOND

    def record_start(self) -> None:
        """Record that one task has started."""
        longest_ago = self._clock() - BURST_STARTS / STARTS_PER_SECOND
        self._next_start_at = max(self._next_start_at, longest_ago) + 1 / STARTS_PER_SECOND

    def most_starts(self) -> int:
        """Return the number of tasks that may start at once now."""
        waited = self._clock() - self._next_start_at
        return min(max(math.floor(waited * STARTS_PER_SECOND) + 1, 0), BURST_STARTS)

    def wait_seconds(self) -> float:
        """Return the seconds until the next start is allowed; 0 or less when it is allowed now."""
        return self._next_start_at - self._clock()


class LoginTurns:
    """Lets one task of this process at a time use a login, in the order in which they asked.

    A refresh token can be used once. With two tasks at a time, the one that renews the login would
    end that of the other. Used on the event loop only.
    """

    def __init__(self) -> None:
        self._locks: dict[str, anyio.Lock] = {}
        self._tasks: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, key: str, request: StopRequest) -> AsyncIterator[bool]:
        """Wait for the turn of a task, or until it is stopped; yield whether it had to wait."""
        lock = self._locks.setdefault(key, anyio.Lock())
        self._tasks[key] += 1
        has_waited, is_ours = lock.locked(), False
        try:
            with request.work_scope(math.inf):
                await lock.acquire()
                is_ours = True
            yield has_waited
        finally:
            if is_ours:
                lock.release()
            self._tasks[key] -= 1
            if not self._tasks[key]:
                del self._tasks[key], self._locks[key]
