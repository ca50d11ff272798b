"""Limits the memory and processor time of git processes that read data from a sandbox.

A patch of a few hundred bytes can unpack to gigabytes, and a few tree objects can name billions of
files. Only git finds out what they need, so git runs with limits.
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

from utils.git.output import TAIL_BYTES
from utils.models.runs import KILLED, CommandResult
from utils.processes import SIGNALLED

MAX_MEMORY_BYTES = 768 * 2**20
"""Address space of one git process. A changed file of 90 MB needs four to five times its size."""

MAX_PROCESSOR_SECONDS = 20
"""Processor time of all git processes of one push; a changed file of 90 MB takes two to five."""

PROCESSES_AT_ONCE = 2
"""Limited git processes of the whole server, so that a server with 2 GB has memory left."""

# git runs without the limits that a system lacks, such as memory on macOS. Only the soft limit of
# time has a signal of its own; that signal would write a core dump, which is turned off.
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
# Systems that count time in ticks report 0 for short processes, and there may be many of them.
_LEAST_SECONDS = 0.01
_TIME = re.compile(r"\b([0-9]{1,6})m([0-9]{1,6}(?:\.[0-9]{1,9})?)s")
_TIME_IS_OVER = SIGNALLED + signal.SIGXCPU
_RAN_OUT = re.compile(
    rb"^fatal: .{0,500}"
    rb"(?:[Oo]ut of memory|Cannot allocate memory|too large to fit into virtual memory)",
    re.MULTILINE,
)

CONFIGURATION = {
    # Mapped parts of packs count as memory. These are git's defaults for small machines.
    "core.packedGitWindowSize": "32m",
    "core.packedGitLimit": "256m",
    # Each thread would reserve address space, so that a limit would depend on the cores.
    "index.threads": "1",
    # git keeps similar objects in memory to compute deltas; larger files are sent without deltas.
    "core.bigFileThreshold": "50m",
    "pack.windowMemory": "64m",
}
"""Git settings that reduce its memory; some also apply to sending, which has no limit."""

ENVIRONMENT = {
    # By default glibc returns memory to the system after each object that git creates, which takes
    # more time than everything else about a small file.
    "MALLOC_TRIM_THRESHOLD_": str(4 * 2**20),
}
"""Environment variables for git."""

SECONDS_AFTER_WAIT = 5
"""Time that a push needs after its wait for a slot."""

_slots = BoundedSemaphore(PROCESSES_AT_ONCE)


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """Address space of each git process, and processor time of all processes together."""

    memory_bytes: int = MAX_MEMORY_BYTES
    processor_seconds: int = MAX_PROCESSOR_SECONDS


class ResourceBudget:
    """The remaining resources of one push, whose git processes run one after the other.

    `times` is a file for the processor times of the last process.
    """

    def __init__(self, resources: ResourceLimits, times: Path) -> None:
        self._memory_bytes = resources.memory_bytes
        self._seconds_left = float(resources.processor_seconds)
        self._times = times
        self._times.touch()

    def limit(self, command: Sequence[str]) -> list[str]:
        """Return the command wrapped in the remaining limits."""
        seconds = max(1, math.ceil(self._seconds_left))
        limits = (str(self._memory_bytes // 1024), str(seconds), str(self._times))
        return ["sh", "-c", _LIMITED, "sh", *limits, *command]

    def record(self, result: CommandResult) -> str | None:
        """Subtract a command's usage; return the limit that it exceeded, if any.

        The limit is `memory` or `processor time`.
        """
        self._seconds_left -= max(_LEAST_SECONDS, self._seconds_of_last())
        if result.exit_code == _TIME_IS_OVER or self._seconds_left <= 0:
            return "processor time"
        # Killed by the system, which ran out of memory.
        killed = result.exit_code == KILLED and not result.timed_out
        return "memory" if killed or _RAN_OUT.search(result.stderr[-TAIL_BYTES:]) else None

    def _seconds_of_last(self) -> float:
        # The file is empty when the disk is full; then git fails as well.
        found = _TIME.findall(self._times.read_text())
        return sum(60 * int(minutes) + float(seconds) for minutes, seconds in found)


@contextmanager
def process_slot(deadline: float) -> Iterator[bool]:
    """Wait for one of the few slots; yield False if none became free in time."""
    is_acquired = _slots.acquire(timeout=max(0.0, deadline - SECONDS_AFTER_WAIT - time.monotonic()))
    try:
        yield is_acquired
    finally:
        if is_acquired:
            _slots.release()
