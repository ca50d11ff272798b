"""Passes on the output of agents in a share of the event loop's time.

An agent may print as fast as it can, and each line takes a few microseconds of the loop that serves
all tasks. So output is processed in small slices with rests; meanwhile the agent waits, because its
pipe is full.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import AnyStr

import anyio

SHARE = 0.25
"""Share of the time that the output of all agents together takes at most."""

SLICE_SECONDS = 0.003
"""Processor time that one slice should take: so long other tasks wait for the loop."""

UNNOTICED_SECONDS = 0.001
"""No rest follows output that takes less, as that of a usual agent does."""

LARGEST_SLICE = 32_768
SMALLEST_SLICE = 1_024


class OutputPace:
    """Slices the output of one agent. The rests of all agents follow each other."""

    _next_start = 0.0

    def __init__(self) -> None:
        self.is_hurried = False
        """True when the agent has ended, so that only the rest of its output is left."""
        self._slice = LARGEST_SLICE

    async def pass_on(
        self, handler: Callable[[str, AnyStr], None], stream: str, data: AnyStr
    ) -> None:
        """Call the handler with the data, in slices."""
        position = 0
        while position < len(data):
            piece = data[position : position + self._slice]
            position += len(piece)
            started = time.thread_time()
            handler(stream, piece)
            await self._rest(time.thread_time() - started)

    async def _rest(self, seconds: float) -> None:
        fitting = self._slice * SLICE_SECONDS / max(seconds, 1e-6)
        self._slice = int(min(max(fitting, SMALLEST_SLICE), 2 * self._slice, LARGEST_SLICE))
        if seconds < UNNOTICED_SECONDS or self.is_hurried:
            return
        now = time.monotonic()
        OutputPace._next_start = max(OutputPace._next_start, now) + seconds * (1 / SHARE - 1)
        await anyio.sleep(OutputPace._next_start - now)
