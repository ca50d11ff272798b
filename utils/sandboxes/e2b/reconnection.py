"""Repeats requests to a sandbox that cannot be reached, with growing pauses and an end."""

from __future__ import annotations

import random
from typing import Any

import anyio
import stamina

from utils.errors import SandboxLost, SandboxUnavailable

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
LONGEST_REQUEST_PAUSE_SECONDS = 2.0

UNREACHABLE_SECONDS = 120.0
"""Time without contact after which a sandbox counts as lost."""

STEADY_SECONDS = 1.0
"""Time after which a broken connection is not blamed on the attempt before it."""


def retries(attempts: int | None) -> Any:
    """Return a retry loop; without a number it retries for UNREACHABLE_SECONDS.

    Results are worth retrying that long, because the model has already been paid for.
    """
    return stamina.retry_context(
        on=SandboxUnavailable,
        attempts=attempts,
        timeout=None if attempts else UNREACHABLE_SECONDS,
        wait_initial=FIRST_PAUSE_SECONDS,
        wait_max=LONGEST_REQUEST_PAUSE_SECONDS,
    )


class Reconnection:
    """Paces the attempts to follow a command whose connection breaks again and again."""

    def __init__(self) -> None:
        self._failures = 0
        self._failing_since: float | None = None
        self._reachable_since: float | None = None

    def mark_reachable(self) -> None:
        """Note that the sandbox answers, although the command may print nothing."""
        self._failing_since = None
        self._reachable_since = anyio.current_time()

    def mark_progress(self) -> None:
        """Note that the command has printed something."""
        self._failures, self._failing_since = 0, None

    async def pause(self, error: SandboxUnavailable, longest_seconds: float) -> None:
        """Wait before the next attempt; raise `SandboxLost` after failures of `longest_seconds`."""
        now = anyio.current_time()
        if self._reachable_since is not None and now - self._reachable_since > STEADY_SECONDS:
            self._failures = 0
        self._reachable_since = None
        self._failing_since = self._failing_since or now
        if now - self._failing_since > longest_seconds:
            raise SandboxLost(
                "The cloud sandbox could no longer be reached. Start the task again. With "
                "RETRY_LOST_SANDBOX=true the server does this itself."
            ) from error
        seconds = min(FIRST_PAUSE_SECONDS * 2**self._failures, LONGEST_PAUSE_SECONDS)
        self._failures += 1
        await anyio.sleep(seconds * random.uniform(0.5, 1.0))  # noqa: S311
