"""Follows what the demonstration writes to a terminal: lines, colours, and the progress line."""

from __future__ import annotations

import re
from dataclasses import dataclass

from demo.console import Style

_STYLES: dict[str, Style | None] = {
    "0": None,
    "1": "bold",
    "2": "dim",
    "31": "red",
    "32": "green",
    "36": "cyan",
}
_ERASE = "\r\x1b[K"
_CODE = re.compile(r"\x1b\[(\d+)m")

Runs = list[tuple[str, Style | None]]


@dataclass(slots=True)
class Line:
    """A line that was shown in this row, until the last moment if it was erased."""

    row: int
    shown_at: float
    runs: Runs
    erased_at: float | None = None


class Transcript:
    """The lines of a session, in the order in which they appeared."""

    def __init__(self, first: str) -> None:
        self.lines: list[Line] = [Line(0, 0.0, [(first, "bold")])]
        self._row = 1
        self._open = ""
        self._progress: Line | None = None

    @property
    def rows(self) -> int:
        """The number of rows that were written."""
        return self._row

    def add(self, seconds: float, text: str) -> None:
        """Add what the terminal received after so many seconds."""
        *complete, self._open = (self._open + text).replace("\r\n", "\n").split("\n")
        for line in complete:
            self._erase(seconds)
            self.lines.append(Line(self._row, seconds, _runs(line.rpartition(_ERASE)[2])))
            self._row += 1
        if _ERASE in self._open:
            self._open = self._open.rpartition(_ERASE)[2]
            self._erase(seconds)
            if self._open:
                self._progress = Line(self._row, seconds, _runs(self._open))
                self.lines.append(self._progress)
            self._open = _ERASE + self._open

    def _erase(self, seconds: float) -> None:
        if self._progress is not None:
            self._progress.erased_at = seconds
        self._progress = None


def _runs(line: str) -> Runs:
    """Split a line into pieces of one style."""
    runs: Runs = []
    style: Style | None = None
    for number, piece in enumerate(_CODE.split(line)):
        if number % 2:
            style = _STYLES.get(piece)
        elif piece:
            runs.append((piece, style))
    return runs
