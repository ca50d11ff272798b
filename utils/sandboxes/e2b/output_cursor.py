"""Tracks the position in the output of an agent, so that none is lost with a connection."""

from __future__ import annotations

from utils.sandboxes.e2b.reconnection import Reconnection
from utils.sandboxes.protocol import OutputHandler

REPLACEMENT = "\ufffd"
"""The SDK's replacement for bytes that are not UTF-8."""


class OutputCursor:
    """Passes output to the handler exactly once, although a stream restarts at a line's start.

    Lines and characters are counted, not bytes: the SDK decodes the output, and bytes that are not
    UTF-8 become U+FFFD. So does the first half of a character when the connection breaks in the
    middle of it: a U+FFFD at the end is held back until more output comes.
    """

    def __init__(self, on_output: OutputHandler) -> None:
        self._on_output = on_output
        self._lines = {"stdout": 0, "stderr": 0}
        self._characters = {"stdout": 0, "stderr": 0}
        self._skip = {"stdout": 0, "stderr": 0}
        self._held_back = {"stdout": "", "stderr": ""}
        self.reconnection = Reconnection()

    def next_lines(self) -> list[str]:
        """Return the line numbers to restart from, of stdout and of stderr."""
        self._skip = dict(self._characters)
        self._held_back = {"stdout": "", "stderr": ""}
        return [str(self._lines[stream] + 1) for stream in ("stdout", "stderr")]

    def feed(self, stream: str, text: str) -> None:
        """Pass on a piece of output, without the part that was passed on before."""
        self.reconnection.mark_progress()
        skipped = min(self._skip[stream], len(text))
        self._skip[stream] -= skipped
        text = self._held_back[stream] + text[skipped:]
        certain = text.removesuffix(REPLACEMENT)
        self._held_back[stream] = text[len(certain) :]
        self._pass_on(stream, certain)

    def flush(self) -> None:
        """Pass on the characters held back; the output is complete."""
        for stream, text in self._held_back.items():
            self._pass_on(stream, text)
        self._held_back = {"stdout": "", "stderr": ""}

    def _pass_on(self, stream: str, text: str) -> None:
        if not text:
            return
        complete, newline, rest = text.rpartition("\n")
        if newline:
            self._lines[stream] += complete.count("\n") + 1
            self._characters[stream] = len(rest)
        else:
            self._characters[stream] += len(text)
        self._on_output(stream, text.encode())
