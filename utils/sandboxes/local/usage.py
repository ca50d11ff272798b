"""Measures what the processes below this one use, for the supervisor.

With few imports, because the supervisor forks.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import sys
import time
from typing import Any

IS_LINUX = sys.platform == "linux"

CHECK_SECONDS = 0.5
"""Time between two looks at the memory and the number of processes."""

SIZE_CHECK_SHARE = 20
"""The pause after a look at the sizes of all files, as a multiple of its processor time."""


def descendants() -> set[int]:
    """Return all processes below this one; none where the system does not tell."""
    family, new, table = set[int](), {os.getpid()}, parents()
    while new := {pid for pid, parent in table.items() if parent in new} - family:
        family |= new
    return family


def parents() -> dict[int, int]:
    """Return the parent of every process of this machine."""
    table = {}
    for name in os.listdir("/proc") if IS_LINUX else ():  # noqa: PTH208 - imports little
        if name.isdigit():
            with contextlib.suppress(OSError), io.FileIO(f"/proc/{name}/stat") as file:
                # The name of the program, in parentheses, may contain anything.
                table[int(name)] = int(file.readall().rpartition(b")")[2].split()[1])
    return table


class Limits:
    """The limits of everything below this process, and of the folder of its sandbox."""

    def __init__(self, limits: dict[str, Any]) -> None:
        self._memory_bytes: int = limits["memory_bytes"]
        self._processes: int = limits["processes"]
        self._disk_bytes: int = limits["disk_bytes"]
        self._folder: str = limits["folder"]
        self._next_size_check = 0.0

    def exceeded(self) -> str:
        """Return the name of a limit that is exceeded; empty without any."""
        family = descendants()
        if len(family) > self._processes:
            return "processes"
        if sum(map(resident_bytes, family)) > self._memory_bytes:
            return "memory"
        return "disk" if self._is_disk_limit_exceeded() else ""

    def _is_disk_limit_exceeded(self) -> bool:
        if time.monotonic() < self._next_size_check:
            return False
        begun = time.process_time()
        size = size_of(self._folder, self._disk_bytes)
        pause_seconds = max(SIZE_CHECK_SHARE * (time.process_time() - begun), CHECK_SECONDS)
        self._next_size_check = time.monotonic() + pause_seconds
        return size > self._disk_bytes


def resident_bytes(pid: int) -> int:
    """Return the memory that only this process uses; 0 for one that has ended."""
    try:
        with io.FileIO(f"/proc/{pid}/statm") as file:
            _, resident, shared, *_ = map(int, file.readall().split())
    except (OSError, ValueError):
        return 0
    return (resident - shared) * resource.getpagesize()


def size_of(folder: str, enough: int) -> int:
    """Return the space that the files in a folder take; stop counting above `enough`."""
    total, folders = 0, [folder]
    while folders and total <= enough:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    with contextlib.suppress(OSError):
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total
