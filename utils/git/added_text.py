"""Reads from a diff which files it changes, and which text it adds to them."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterable, Iterator

from utils.git.output import decode_path, unquote_path

MAX_BINARY_BYTES = 32 * 2**20
"""Bytes of a binary file that are read; a few compressed bytes may hold gigabytes."""

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
    for lines in _files(diff):
        name = _name_in(lines[0])
        added: list[str] = []
        hunk: int | None = None
        for number, line in enumerate(lines):
            if line.startswith(_BINARY_HUNKS) and hunk is None:
                hunk = number + 1
            elif line.startswith("+++ ") and not added:
                name = _path(line.removeprefix("+++ ").rstrip("\t")) or name
            elif line.startswith("+"):
                added.append(line[1:])
        if hunk is not None and reads_binary(name):
            added.append(_binary_text(lines[hunk:]))
        yield name, "\n".join(added)


def _files(diff: str) -> Iterator[list[str]]:
    lines: list[str] = []
    for line in diff.split("\n"):
        if line.startswith(_FILE):
            if lines:
                yield lines
            lines = [line]
        elif lines:
            lines.append(line)
    if lines:
        yield lines


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
