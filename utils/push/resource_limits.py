"""Bounds the memory and the processor time of git processes that read what a sandbox wrote.

A patch of a few hundred bytes may say that it unpacks to gigabytes, and few tree objects may name
billions of files. What they would take is known only to git, so that git runs with limits.
"""

from __future__ import annotations

import math
import re
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore

from utils.models.runs import KILLED, CommandResult
from utils.processes import SIGNALLED

MAX_MEMORY_BYTES = 768 * 2**20
"""Address space of one git process; it takes four to five times a changed file of 90 MB."""

MAX_PROCESSOR_SECONDS = 20
"""Processor time of all git processes of one push; a changed file of 90 MB takes two to five."""

PROCESSES_AT_ONCE = 2
"""Such processes of the whole server; together they leave a server with 2 GB its own memory."""

# Where a limit is not known, as that of memory on macOS, git goes on without. Only the soft limit
# of time has a signal of its own, which would leave the whole memory in a file.
_LIMITED = """
ulimit -v "$1" 2>/dev/null
ulimit -S -t "$2" 2>/dev/null
ulimit -c 0 2>/dev/null
times=$3
shift 3
"$@"
status=$?
times >"$times"
exit "$status"
"""
# Shorter processes pass for nothing where time is counted in ticks, and there may be many.
_LEAST_SECONDS = 0.01
_TIME = re.compile(r"(\d+)m(\d+(?:\.\d+)?)s")
_TIME_IS_OVER = SIGNALLED + signal.SIGXCPU
_RAN_OUT = re.compile(
    rb"^fatal: .*(?:[Oo]ut of memory|Cannot allocate memory|too large to fit into virtual memory)",
    re.MULTILINE,
)

CONFIGURATION = {
    # Mapped parts of packs count as memory. These are git's own figures for small machines.
    "core.packedGitWindowSize": "32m",
    "core.packedGitLimit": "256m",
    # Each thread would reserve address space, so that a limit would depend on the cores.
    "index.threads": "1",
    # What is sent is compared with what is alike, which is all in memory; files that are larger
    # than this are sent whole.
    "core.bigFileThreshold": "50m",
    "pack.windowMemory": "64m",
}
"""Settings of git that bound its memory; some also where there is no limit, when it sends."""

ENVIRONMENT = {
    # For each object that git makes, glibc would give memory back to the system and take it again,
    # which costs more than everything else about a small file.
    "MALLOC_TRIM_THRESHOLD_": str(4 * 2**20),
}
"""Variables for git."""

PUSH_SECONDS = 5
"""A push waits for a place until so much of its time is left, which it needs for the rest."""

_places = BoundedSemaphore(PROCESSES_AT_ONCE)


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """Limits for git: address space of each process, and total CPU seconds."""

    memory_bytes: int = MAX_MEMORY_BYTES
    processor_seconds: int = MAX_PROCESSOR_SECONDS


class ResourceBudget:
    """The remaining limits for the processes of one push.

    `times` is a file of its own, for what the last one took.
    """

    def __init__(self, bounds: ResourceLimits, times: Path) -> None:
        self._memory_bytes = bounds.memory_bytes
        self._seconds_left = float(bounds.processor_seconds)
        self._times = times
        self._times.touch()

    def limited(self, command: Sequence[str]) -> list[str]:
        """Return a command that runs another one with what is left."""
        seconds = max(1, math.ceil(self._seconds_left))
        limits = (str(self._memory_bytes // 1024), str(seconds), str(self._times))
        return ["sh", "-c", _LIMITED, "sh", *limits, *command]

    def exceeded(self, result: CommandResult) -> str | None:
        """Count a command that ended; return what it lacked, `memory` or `processor time`."""
        self._seconds_left -= max(_LEAST_SECONDS, self._seconds_of_last())
        if result.exit_code == _TIME_IS_OVER or self._seconds_left <= 0:
            return "processor time"
        # Killed by the machine, whose last memory it took.
        killed = result.exit_code == KILLED and not result.timed_out
        return "memory" if killed or _RAN_OUT.search(result.stderr) else None

    def _seconds_of_last(self) -> float:
        # Empty on a disk that is full, where git comes to nothing either.
        found = _TIME.findall(self._times.read_text())
        return sum(60 * int(minutes) + float(seconds) for minutes, seconds in found)


@contextmanager
def place(deadline: float) -> Iterator[bool]:
    """Wait for one of the few places; yield whether there was one in time for the deadline."""
    taken = _places.acquire(timeout=max(0.0, deadline - PUSH_SECONDS - time.monotonic()))
    try:
        yield taken
    finally:
        if taken:
            _places.release()
