"""Keeps count of the agent output that has come, so that a broken connection loses none."""

from __future__ import annotations

import random

import anyio

from utils.errors import SandboxLost, SandboxUnavailable
from utils.sandboxes.protocol import OutputHandler

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0

REPLACEMENT = "\ufffd"
"""The SDK's replacement for bytes that are not UTF-8."""


class OutputCursor:
    """Hands output on exactly once, however often it is shown again from the start of a line.

    Lines and characters are counted, not bytes: the SDK decodes what it gets, and bytes that are
    not UTF-8 have become U+FFFD. So has the first half of a character when the connection broke in
    the middle of it: one at the end of all that came waits for what comes next.
    """

    def __init__(self, on_output: OutputHandler) -> None:
        self._on_output = on_output
        self._lines = {"stdout": 0, "stderr": 0}
        self._characters = {"stdout": 0, "stderr": 0}
        self._skip = {"stdout": 0, "stderr": 0}
        self._doubtful = {"stdout": "", "stderr": ""}
        self._failures = 0
        self._failing_since: float | None = None

    def next_lines(self) -> list[str]:
        """Return the numbers of the lines to be shown first, of stdout and of stderr."""
        self._skip = dict(self._characters)
        self._doubtful = {"stdout": "", "stderr": ""}
        return [str(self._lines[stream] + 1) for stream in ("stdout", "stderr")]

    def reached(self) -> None:
        """Note that the sandbox answers; the agent may have nothing to say."""
        self._failing_since = None

    def take(self, stream: str, text: str) -> None:
        """Take a piece; what came before is dropped."""
        self._failures, self._failing_since = 0, None
        skipped = min(self._skip[stream], len(text))
        self._skip[stream] -= skipped
        text = self._doubtful[stream] + text[skipped:]
        certain = text.removesuffix(REPLACEMENT)
        self._doubtful[stream] = text[len(certain) :]
        self._hand_on(stream, certain)

    def finish(self) -> None:
        """Hand on what waits: the output has come to its end."""
        for stream, text in self._doubtful.items():
            self._hand_on(stream, text)
        self._doubtful = {"stdout": "", "stderr": ""}

    def _hand_on(self, stream: str, text: str) -> None:
        if not text:
            return
        complete, newline, rest = text.rpartition("\n")
        if newline:
            self._lines[stream] += complete.count("\n") + 1
            self._characters[stream] = len(rest)
        else:
            self._characters[stream] += len(text)
        self._on_output(stream, text.encode())

    async def pause(self, error: SandboxUnavailable, longest_seconds: float) -> None:
        """Wait before the next try; raise `SandboxLost` when it has failed for too long."""
        now = anyio.current_time()
        self._failing_since = self._failing_since or now
        if now - self._failing_since > longest_seconds:
            raise SandboxLost(
                "The cloud sandbox could not be reached any more. Start the task again, or set "
                "RETRY_LOST_SANDBOX=true to have that done."
            ) from error
        seconds = min(FIRST_PAUSE_SECONDS * 2**self._failures, LONGEST_PAUSE_SECONDS)
        self._failures += 1
        await anyio.sleep(seconds * random.uniform(0.5, 1.0))  # noqa: S311
