"""Runs the fake cloud of a single test as a process that begins with everything imported."""

from __future__ import annotations

import os

from tests.fakes.e2b.control import E2BServerProcess
from tests.support.preloaded import PreloadedProcess, start_preloaded
from tests.support.source_files import ROOT

END_SECONDS = 60.0


class PreloadedCloud(E2BServerProcess):
    """Runs the server in a process of its own, as `E2BServerProcess` does, and starts it sooner."""

    def __init__(self) -> None:
        super().__init__()
        self._input = -1
        self._preloaded: PreloadedProcess | None = None

    def start(self) -> None:
        """Start the server; return when it listens."""
        theirs, self._input = os.pipe()
        ours, output = os.pipe()
        self._preloaded = start_preloaded(
            ["-m", "tests.fakes.e2b.server", "--until-stdin-closes"],
            cwd=ROOT,
            env=os.environ,
            output=output,
            errors=2,
            stdin=theirs,
        )
        os.close(theirs)
        os.close(output)
        with os.fdopen(ours) as printed:
            self.url, self.control_url = (printed.readline().strip() for _ in range(2))

    @property
    def pid(self) -> int:
        """The process id of the server."""
        assert self._preloaded
        return self._preloaded.pid

    def stop(self) -> None:
        """Stop the server and remove every sandbox, process and file."""
        if self._preloaded:
            os.close(self._input)
            self._preloaded.wait(END_SECONDS)
