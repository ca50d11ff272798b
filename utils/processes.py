"""Ends processes of this machine for certain: whole groups, and strays found by a marker.

Also tells how one ended, as shells do.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import time

import anyio
import psutil
from anyio import to_thread

MARKER_VARIABLE = "ASYNC_CODE_SANDBOX"
"""Set in every process of a local sandbox; inherited by what leaves the process group too."""

SIGNALLED = 128
"""The number that shells add to the signal that ended a command."""

_MARKER_ENTRY = b"\0%b=" % MARKER_VARIABLE.encode()
_ROUNDS = 20
_PAUSE_SECONDS = 0.005
_DEAD = frozenset({psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD})


def exit_code(returncode: int) -> int:
    """Return the exit code that a shell would tell; Python tells a signal as a negative number."""
    return returncode if returncode >= 0 else SIGNALLED - returncode


async def end_group(group: int) -> None:
    """Kill a process group and return when none of it lives (2 s at most)."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
    with anyio.move_on_after(2):
        # Nothing tells when processes that are not our children are gone: it has to be asked.
        while await to_thread.run_sync(_group_lives, group):  # noqa: ASYNC110
            await anyio.sleep(_PAUSE_SECONDS)


def _group_lives(group: int) -> bool:
    return any(_lives_in(group, pid) for pid in psutil.pids())


def _lives_in(group: int, pid: int) -> bool:
    # The dead stay in their group until their parent collects them, which may take its time.
    try:
        return os.getpgid(pid) == group and psutil.Process(pid).status() not in _DEAD
    except (OSError, psutil.Error):
        return False


def end_marked(marker: str) -> int:
    """Kill every process whose environment carries a marker, blocking; return how many.

    `marker` is the value of `ASYNC_CODE_SANDBOX`, or its beginning when it ends with `/`.
    Repeats until none is found, since a process may fork while it is looked for.
    """
    ended = 0
    for _ in range(_ROUNDS):
        found = [pid for pid in psutil.pids() if _is_marked(pid, marker)]
        if not found:
            return ended
        for pid in found:
            with contextlib.suppress(psutil.Error):
                psutil.Process(pid).kill()
        ended += len(found)
        time.sleep(_PAUSE_SECONDS)
    return ended


def _is_marked(pid: int, marker: str) -> bool:
    value = _marker_of(pid)
    matches = value.startswith(marker) if marker.endswith("/") else value == marker
    return matches and pid != os.getpid()


def _marker_of(pid: int) -> str:
    try:
        if not psutil.LINUX:
            return psutil.Process(pid).environ().get(MARKER_VARIABLE, "")
        # Every process is asked at the end of every task; this takes a fifth of psutil's time.
        with io.FileIO(f"/proc/{pid}/environ") as file:
            _, _, rest = (b"\0" + file.readall()).partition(_MARKER_ENTRY)
        return os.fsdecode(rest.partition(b"\0")[0])
    except (psutil.Error, OSError):
        return ""
