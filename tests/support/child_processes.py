"""Runs programs that end with the process that started them, even if that one is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

END_SECONDS = 10

# The guard waits for the end of its input, which comes when the starter closes it or dies.
GUARD = """
signal=$1 log=$2
shift 2
"$@" </dev/null >>"$log" 2>&1 &
echo $!
read -r _
kill -s "$signal" $! 2>/dev/null
wait
"""


class GuardedProgram:
    """Runs a program in the background and writes its output to a log file.

    `end_signal` is the name, without SIG, of the signal that ends it. It runs in its own session,
    so that Ctrl-C does not reach it.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        system_user: str | None = None,
        end_signal: str = "TERM",
    ) -> None:
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guard", end_signal, log, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            user=system_user,
            cwd=log.parent,
            start_new_session=True,
        )
        assert self._guard.stdin is not None
        assert self._guard.stdout is not None
        with self._guard.stdout as output:
            self.pid = int(output.readline())
        self._life_line = self._guard.stdin

    def stop(self) -> None:
        """End the program and wait for it; kill it if it does not end in time."""
        self._life_line.close()
        try:
            self._guard.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            self._guard.wait()

    def kill(self) -> None:
        """Kill the program; `stop` must still be called."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
