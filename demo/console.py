"""Writes the demonstration's output: plain lines, on a terminal with colours and progress."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Literal, TextIO

Style = Literal["bold", "dim", "red", "green", "cyan"]

_CODES: dict[Style, str] = {"bold": "1", "dim": "2", "red": "31", "green": "32", "cyan": "36"}
_ERASE_LINE = "\r\x1b[K"


def printable(text: str) -> str:
    """Replace control characters, so that text from a repository cannot control the terminal."""
    return "".join(
        character if character.isprintable() or character in "\n\t" else "\N{REPLACEMENT CHARACTER}"
        for character in text.replace("\r\n", "\n")
    )


class Console:
    """Writes lines, and on a terminal a progress line at the bottom."""

    def __init__(self, stream: TextIO, environment: Mapping[str, str]) -> None:
        self._stream = stream
        self.live = stream.isatty() and environment.get("TERM", "dumb") != "dumb"
        self._coloured = self.live and not environment.get("NO_COLOR")
        self._progress_shown = False

    def line(self, text: str = "", style: Style | None = None) -> None:
        """Write a line; replace its control characters."""
        self._erase_progress()
        self._stream.write(self._painted(printable(text), style) + "\n")
        self._stream.flush()

    def progress(self, text: str) -> None:
        """Update the progress line; do nothing if the output is not a terminal."""
        if not self.live:
            return
        width = shutil.get_terminal_size().columns - 1
        self._stream.write(_ERASE_LINE + self._painted(printable(text)[:width], "dim"))
        self._stream.flush()
        self._progress_shown = True

    def _erase_progress(self) -> None:
        if self._progress_shown:
            self._stream.write(_ERASE_LINE)
            self._progress_shown = False

    def _painted(self, text: str, style: Style | None) -> str:
        if style is None or not self._coloured or not text:
            return text
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m"
