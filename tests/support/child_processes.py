"""Programs that end with the one who started them, even when that one is killed outright."""

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
    """A program in the background whose output goes to a log file.

    `end_signal` is how it is asked to end, without the SIG. A session of its own keeps Ctrl-C away.
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
        """End the program and return when it is gone; kill it when it does not want to."""
        self._life_line.close()
        try:
            self._guard.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            self._guard.wait()

    def kill(self) -> None:
        """Kill the program; `stop` is still to be called."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
