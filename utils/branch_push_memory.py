"""Bounds the memory of git processes that read what a sandbox wrote.

A patch of a few hundred bytes may say that it unpacks to gigabytes, and few tree objects may name
billions of files. What they would take is known only to git, so that git runs with a limit.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import BoundedSemaphore

from utils.models import KILLED, CommandResult

MAX_MEMORY_BYTES = 768 * 2**20
"""Address space of one git process; it takes four to five times a changed file of 90 MB."""

PROCESSES_AT_ONCE = 2
"""Such processes of the whole server; together they leave a server with 2 GB its own memory."""

# Where no such limit is known, as on macOS, git goes on without.
_LIMITED = 'ulimit -v "$1" 2>/dev/null; shift; exec "$@"'
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

_places = BoundedSemaphore(PROCESSES_AT_ONCE)


def limited(command: Sequence[str], memory_bytes: int) -> list[str]:
    """Return a command that runs another one with a limit of its address space."""
    return ["sh", "-c", _LIMITED, "sh", str(memory_bytes // 1024), *command]


@contextmanager
def place(deadline: float) -> Iterator[bool]:
    """Wait for one of the few places; yield whether there was one before the deadline."""
    taken = _places.acquire(timeout=max(0.0, deadline - time.monotonic()))
    try:
        yield taken
    finally:
        if taken:
            _places.release()


def ran_out(result: CommandResult) -> bool:
    """Whether a command ended because it had no more memory, or took the machine's last."""
    killed = result.exit_code == KILLED and not result.timed_out
    return killed or _RAN_OUT.search(result.stderr) is not None
