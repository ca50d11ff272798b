"""Splits one stream of an agent's output into lines of bounded length, in linear time."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator

from utils.pipeline.long_line import Condenser, LongLine

LINE_CHARACTERS = 32_768
"""Longer lines are cut into events of this length."""

OVERLAP_CHARACTERS = 16_384
"""Characters read ahead of a cut, so that a secret of this length is not split between events.

The longest value of a variable has half as many, and each of its bytes two in hexadecimal.
"""

WINDOW = LINE_CHARACTERS + OVERLAP_CHARACTERS

JSON_LINE_CHARACTERS = 4_000_000
"""A line with an opening brace is not cut up to this length, and condensed above it."""


class LineSplitter:
    """Decodes one stream as UTF-8 and yields its lines.

    A long line without an opening brace comes in pieces. A line with one may be JSON: it comes as a
    whole, or as a `LongLine` when it is too long to be kept. The cuts depend on the line only, not
    on the pieces it arrived in. `redact` is for pieces, `redact_long` for the texts of long lines.
    """

    def __init__(self, redact: Callable[[str], str], redact_long: Callable[[str], str]) -> None:
        self._redact = redact
        self._redact_long = redact_long
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._parts: list[str] = []
        self._length = 0
        self._is_whole = False
        self._long: Condenser | None = None

    def feed(self, data: bytes) -> Iterator[str | LongLine]:
        """Yield the lines that end in a piece of output, and the complete pieces of the last."""
        first, *others = self._decoder.decode(data).split("\n")
        yield from self._add(first)
        for text in others:
            yield from self._finish("\n")
            yield from self._add(text)

    def close(self) -> Iterator[str | LongLine]:
        """Yield the incomplete last line, if there is one."""
        yield from self._add(self._decoder.decode(b"", final=True))
        if self._length or self._long:
            yield from self._finish("")

    def _add(self, text: str) -> Iterator[str]:
        if self._long:
            self._long.add(text)
            return
        self._parts.append(text)
        self._length += len(text)
        if self._length > WINDOW and not self._is_whole:
            yield from self._cut("".join(self._parts))
        if self._length > JSON_LINE_CHARACTERS + OVERLAP_CHARACTERS:
            self._long = Condenser(self._redact_long, LINE_CHARACTERS, OVERLAP_CHARACTERS)
            self._long.add("".join(self._parts))
            self._reset("")

    def _cut(self, line: str) -> Iterator[str]:
        rest, position, is_whole = "", 0, False
        while len(rest) + len(line) - position > WINDOW:
            end = position + WINDOW - len(rest)
            window, position = rest + line[position:end], end
            if "{" in window:
                rest, is_whole = window, True
                break
            clean = self._redact(window)
            yield clean[:LINE_CHARACTERS]
            rest = clean[LINE_CHARACTERS:]
        self._reset(rest + line[position:])
        self._is_whole = is_whole

    def _finish(self, end: str) -> Iterator[str | LongLine]:
        if self._long:
            yield self._long.finish()
            self._long = None
        else:
            yield f"{''.join(self._parts)}{end}"
        self._reset("")

    def _reset(self, text: str) -> None:
        self._parts = [text] if text else []
        self._length = len(text)
        self._is_whole = False
