"""Ends the processes of this machine that have a marker.

Also converts return codes to the exit codes of shells.
"""

from __future__ import annotations

import contextlib
import io
import os
import time

import psutil

MARKER_VARIABLE = "ASYNC_CODE_SANDBOX"
"""Set in every process of a local sandbox; also inherited by processes that leave the group."""

SIGNALLED = 128
"""Shells add this to the number of the signal that ended a command."""

_MARKER_ENTRY = b"\0%b=" % MARKER_VARIABLE.encode()
_ROUNDS = 20
_PAUSE_SECONDS = 0.005


def exit_code(returncode: int) -> int:
    """Return the exit code of a shell; Python returns a signal as a negative number."""
    return returncode if returncode >= 0 else SIGNALLED - returncode


def end_marked(marker: str) -> int:
    """Kill every process with a marker in its environment; return the number of processes.

    `marker` is the value of `ASYNC_CODE_SANDBOX`, or a prefix of it when it ends with `/`. Repeats
    until no process is found, because a process may fork during the search. Blocks.
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
        # Every process is read at the end of every task; this takes a fifth of the time of psutil.
        with io.FileIO(f"/proc/{pid}/environ") as file:
            _, _, rest = (b"\0" + file.readall()).partition(_MARKER_ENTRY)
        return os.fsdecode(rest.partition(b"\0")[0])
    except (psutil.Error, OSError):
        return ""
