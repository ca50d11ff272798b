"""Reads from a diff which files it changes, and which text it adds to them."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterable, Iterator

from utils.git.output import decode_path, unquote_path

MAX_BINARY_BYTES = 32 * 2**20
"""Bytes of a binary file that are read; a few compressed bytes may hold gigabytes."""

_JOINED_LINES = 1_000

_FILE = "diff --git "
_BINARY_HUNKS = ("literal ", "delta ")


def added_text(
    diff: str, reads_binary: Callable[[str], bool] = lambda _: False
) -> Iterator[tuple[str, str]]:
    """Yield the name of each changed file with the lines that the diff adds to it.

    Accepts the output of `git diff` and of `git format-patch`. The name is the one after the
    change, where the diff names it. For a binary file that `reads_binary` accepts, the text is its
    new content, or what is inserted into the old one.
    """
    for start, end in _files(diff):
        name = _name_in(diff[start : _end_of_line(diff, start, end)])
        added = _AddedLines()
        hunk: int | None = None
        for place, line in _lines(diff, start, end):
            if line.startswith(_BINARY_HUNKS) and hunk is None:
                hunk = place + len(line) + 1
            elif line.startswith("+++ ") and not added:
                name = _path(line.removeprefix("+++ ").rstrip("\t")) or name
            elif line.startswith("+"):
                added.add(line[1:])
        if hunk is not None and reads_binary(name):
            added.add(_binary_text(line for _, line in _lines(diff, hunk, end)))
        yield name, added.text()


class _AddedLines:
    """Collects lines. Many short ones take several times the memory of their text."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._lines: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._texts or self._lines)

    def add(self, line: str) -> None:
        self._lines.append(line)
        if len(self._lines) >= _JOINED_LINES:
            self._texts.append("\n".join(self._lines))
            self._lines.clear()

    def text(self) -> str:
        return "\n".join([*self._texts, *self._lines])


def _files(diff: str) -> Iterator[tuple[int, int]]:
    """Yield where the part of each file begins and ends."""
    start = 0 if diff.startswith(_FILE) else diff.find(f"\n{_FILE}") + 1
    while diff.startswith(_FILE, start):
        following = diff.find(f"\n{_FILE}", start)
        yield start, len(diff) if following < 0 else following
        if following < 0:
            return
        start = following + 1


def _lines(diff: str, start: int, end: int) -> Iterator[tuple[int, str]]:
    """Yield the lines of a part, each with the place where it begins."""
    while start <= end:
        stop = _end_of_line(diff, start, end)
        yield start, diff[start:stop]
        start = stop + 1


def _end_of_line(diff: str, start: int, end: int) -> int:
    found = diff.find("\n", start, end)
    return end if found < 0 else found


def _binary_text(lines: Iterable[str]) -> str:
    """Decode a hunk of a binary file up to its blank line; empty if git has not written it."""
    packed = bytearray()
    try:
        for line in lines:
            if not line:
                break
            # The first character is the number of bytes in the line.
            size = ord(line[0]) - (ord("A") - 1 if line[0] <= "Z" else ord("a") - 27)
            packed += base64.b85decode(line[1:])[:size]
        content = zlib.decompressobj().decompress(bytes(packed), MAX_BINARY_BYTES)
    except (ValueError, zlib.error):
        return ""
    # Wide encodings put a zero byte beside each character.
    return content.replace(b"\0", b"").decode("utf-8", "replace")


def _name_in(header: str) -> str:
    names = header.removeprefix(_FILE)
    # Both names are the same, except for a rename, whose lines follow.
    return _path(names[len(names) // 2 + 1 :]) or names


def _path(name: str) -> str:
    if name == "/dev/null":
        return ""
    plain = decode_path(unquote_path(name.encode("utf-8", "surrogateescape")))
    return plain.removeprefix("b/")
