"""Measures what the processes below this one use, for the supervisor.

With few imports, because the supervisor forks.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import stat
import sys
import time
from typing import Any

IS_LINUX = sys.platform == "linux"

CHECK_SECONDS = 0.5
"""Time between two looks at the memory and the number of processes."""

CLOSER_LOOK_SHARE = 20
"""The pause after a look at all files and shared memory, as a multiple of its processor time."""

MOST_OPEN_FILES = 100_000
"""Open files of all processes that are looked at; more of them fill the memory of the kernel."""

LONGEST_PATH_BYTES = 3800
"""The system takes paths of 4096 bytes, and a folder may be deeper."""

MOST_LONG_PATHS = 64


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
        self._next_closer_look = 0.0

    def exceeded(self) -> str:
        """Return the name of a limit that is exceeded; empty without any."""
        family = descendants()
        if len(family) > self._processes:
            return "processes"
        memory = [memory_of(pid) for pid in family]
        own_bytes = sum(own for own, _ in memory)
        if own_bytes > self._memory_bytes:
            return "memory"
        if time.monotonic() < self._next_closer_look:
            return ""
        begun = time.process_time()
        reason = self._look_closer(family, own_bytes, sum(shared for _, shared in memory))
        pause_seconds = max(CLOSER_LOOK_SHARE * (time.process_time() - begun), CHECK_SECONDS)
        self._next_closer_look = time.monotonic() + pause_seconds
        return reason

    def _look_closer(self, family: set[int], own_bytes: int, shared_bytes: int) -> str:
        """Count also what no process or folder shows: shared memory, and files without a name."""
        try:
            on_disk, in_memory = unnamed_bytes(family, self._folder)
        except OverflowError:
            return "memory"
        # Most of what is shared are programs, which take no memory of their own.
        if own_bytes + shared_bytes > self._memory_bytes:
            # A file in memory may be open and mapped.
            in_memory = max(in_memory, sum(map(shared_memory_bytes, family)))
        if own_bytes + in_memory > self._memory_bytes:
            return "memory"
        size = size_of(self._folder, self._disk_bytes) + on_disk
        return "disk" if size > self._disk_bytes else ""


def memory_of(pid: int) -> tuple[int, int]:
    """Return the memory that only this process uses, and what others use as well; 0 if it ended."""
    try:
        with io.FileIO(f"/proc/{pid}/statm") as file:
            _, resident, shared, *_ = map(int, file.readall().split())
    except (OSError, ValueError):
        return 0, 0
    page_bytes = resource.getpagesize()
    return (resident - shared) * page_bytes, shared * page_bytes


def shared_memory_bytes(pid: int) -> int:
    """Return the part of a process in memory that it shares and that is in no file of a disk."""
    with contextlib.suppress(OSError), io.FileIO(f"/proc/{pid}/smaps_rollup") as file:
        for line in file.readall().splitlines():
            if line.startswith(b"Pss_Shmem:"):
                return int(line.split()[1]) * 1024
    return 0


def unnamed_bytes(family: set[int], folder: str) -> tuple[int, int]:
    """Return the sizes of open files that no folder has: those beside a folder, those in memory.

    Raises `OverflowError` when there are too many open files.
    """
    sizes, seen = dict[tuple[int, int], int](), 0
    for pid in family:
        with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                seen += 1
                with contextlib.suppress(OSError):
                    status = entry.stat()
                    if not status.st_nlink and stat.S_ISREG(status.st_mode):
                        sizes[status.st_dev, status.st_ino] = status.st_blocks * 512
        if seen > MOST_OPEN_FILES:
            raise OverflowError
    device = os.stat(folder).st_dev if sizes and folder else None  # noqa: PTH116 - imports little
    on_disk = sum(size for (its, _), size in sizes.items() if its == device)
    return on_disk, sum(sizes.values()) - on_disk


def size_of(folder: str, enough: int) -> int:
    """Return the space that the files in a folder take; stop counting above `enough`."""
    total, folders, long = 0, [folder], list[int]()
    try:
        while folders and total <= enough:
            with contextlib.suppress(OSError):
                total += look_into(shortened(folders.pop(), long), folders)
            if len(long) > MOST_LONG_PATHS:
                return enough + 1
        return total
    finally:
        for descriptor in long:
            os.close(descriptor)


def look_into(folder: str, folders: list[str]) -> int:
    """Return the space that the files right in a folder take; add the folders in it."""
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            else:
                with contextlib.suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


def shortened(folder: str, long: list[int]) -> str:
    """Return a path that the system takes; `long` gets the descriptor that it stands for."""
    if len(os.fsencode(folder)) <= LONGEST_PATH_BYTES or not IS_LINUX:
        return folder
    long.append(os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW))
    return f"/proc/self/fd/{long[-1]}"
