"""Keeps many tasks from starting all together."""

from __future__ import annotations

from collections.abc import Callable

STARTS_AT_ONCE = 20
STARTS_PER_SECOND = 20.0


class StartRateLimiter:
    """Lets the first few start together, the others one after the other.

    Hundreds that start together get in each other's way at every step, and end together again:
    each is slower, and the server needs more memory and threads than for the same ones in a row.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next = clock() - STARTS_AT_ONCE / STARTS_PER_SECOND

    def started(self) -> None:
        """One more has started."""
        longest_ago = self._clock() - STARTS_AT_ONCE / STARTS_PER_SECOND
        self._next = max(self._next, longest_ago) + 1 / STARTS_PER_SECOND

    def wait_seconds(self) -> float:
        """Return when the next one may start, in seconds; not above 0 when at once."""
        return self._next - self._clock()
