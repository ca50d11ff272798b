"""Lets scripts in sandboxes of this machine wait for a test, and tell it what they have done."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


class Gate:
    """A gate in a folder that the sandboxes of a test are shown, maybe read-only.

    `wait` is the shell command that waits until the gate is open, `tell` the end of one whose
    output the test reads: a pipe takes it where no file could be written.
    """

    def __init__(self, folder: Path) -> None:
        self._file, pipe = folder / "gate", folder / "pipe"
        os.mkfifo(pipe)
        # With a writer of its own no script waits for a reader, and no reading ends.
        self._descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        self._received = b""
        self.wait = f"until [ -e '{self._file}' ]; do sleep 0.05; done"
        self.tell = f">>'{pipe}'"

    def open(self) -> None:
        """Let the scripts go on."""
        self._file.touch()

    def received(self) -> bytes:
        """Return all that scripts have sent so far."""
        with suppress(BlockingIOError):
            while True:
                self._received += os.read(self._descriptor, 65_536)
        return self._received

    def close(self) -> None:
        os.close(self._descriptor)
