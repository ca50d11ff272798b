"""Keeps the readable part of a line that is too long to be kept as a whole."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

MAX_CONDENSED_CHARACTERS = 262_144
"""A line that is longer without the ends of its long texts is not condensed."""

CUT = " [cut]"
"""Stands in the place of the end of a long text."""

_INSIDE = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
# Not possessive: a repetition of Python 3.11.2, which Debian 12 has, keeps what a failed turn took.
_WHOLE_CHARACTERS = re.compile(r"[^\\]*(?:\\(?:u[0-9a-fA-F]{4}|[^u])[^\\]*)*", re.DOTALL)
_FIRST_NAME = re.compile(r'\{[ \t\r]*"')


class LongLine(NamedTuple):
    """A line of `length` characters; `condensed` has its long texts cut, or is empty."""

    length: int
    condensed: str


class Condenser:
    """Condenses a line of JSON in little memory: only the texts in it can be long.

    Of each text that is longer than `text_characters` and a reserve of `overlap_characters`, the
    beginning is kept. `redact` removes secrets before it is cut.
    """

    def __init__(
        self, redact: Callable[[str], str], text_characters: int, overlap_characters: int
    ) -> None:
        self.length = 0
        self._redact = redact
        self._text_characters = text_characters
        self._window = text_characters + overlap_characters
        self._parts: list[str] = []
        self._size = 0
        self._text: list[str] = []
        self._text_length = 0
        self._has_begun = self._in_text = self._is_lost = False
        self._escape = ""

    def add(self, piece: str) -> None:
        """Read more of the line."""
        self.length += len(piece)
        if self._is_lost:
            return
        piece, self._escape = self._escape + piece, ""
        position = 0 if self._has_begun else self._begin(piece)
        while position < len(piece) and not self._is_lost:
            position = (
                self._read_text(piece, position)
                if self._in_text
                else self._skip_to_text(piece, position)
            )

    def finish(self) -> LongLine:
        """Return the line; nothing of it is kept here any longer."""
        condensed = "" if self._is_lost or self._in_text else "".join(self._parts)
        return LongLine(self.length, condensed)

    def _begin(self, piece: str) -> int:
        # What stands before the first object may have a quotation mark.
        found = _FIRST_NAME.search(piece)
        self._has_begun = found is not None
        return found.start() if found else len(piece)

    def _skip_to_text(self, piece: str, position: int) -> int:
        end = piece.find('"', position) + 1
        self._in_text = end > 0
        self._keep(piece[position : end or len(piece)])
        return end or len(piece)

    def _read_text(self, piece: str, position: int) -> int:
        found = _INSIDE.match(piece, position)
        end = found.end() if found else position
        room = self._window + 1 - self._text_length
        if room > 0:
            self._text.append(piece[position : min(end, position + room)])
            self._text_length += len(self._text[-1])
        if end == len(piece):
            return end
        if piece[end] == '"':
            self._keep(f'{self._cut_text()}"')
            self._in_text = False
            return end + 1
        self._escape = piece[end:]
        return len(piece)

    def _cut_text(self) -> str:
        text, self._text = "".join(self._text), []
        is_long, self._text_length = self._text_length > self._window, 0
        if not is_long:
            return text
        beginning = self._redact(text)[: self._text_characters]
        found = _WHOLE_CHARACTERS.match(beginning)
        return f"{found[0] if found else ''}{CUT}"

    def _keep(self, text: str) -> None:
        self._parts.append(text)
        self._size += len(text)
        if self._size > MAX_CONDENSED_CHARACTERS:
            self._is_lost, self._parts = True, []
