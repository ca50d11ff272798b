"""Writes changed images whole into a diff, so that a page can show them before and after.

git writes each side of a changed binary file as its difference to the other side where that is
shorter. With both sides written like this, neither can be read without the repository.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Callable

IMAGE_SUFFIXES = (b".avif", b".bmp", b".gif", b".ico", b".jpeg", b".jpg", b".png", b".webp")
"""Files that utils/web/page/lib/binary_patch.js shows."""

MAX_IMAGE_BYTES = 2 * 2**20

_LINE_BYTES = 52
_LETTERS = 26
_SECTION = re.compile(rb"^(?=diff --git )", re.MULTILINE)
_DIFFERENCES = re.compile(
    rb"^index [0-9a-f]+\.\.(?P<after>[0-9a-f]+)(?: [0-7]+)?\nGIT binary patch\n"
    rb"(?P<hunk>delta [0-9]+\n(?:[^\n]+\n)*)\ndelta ",
    re.MULTILINE,
)


def with_whole_images(
    diff: bytes, content_of: Callable[[str], bytes | None], most_bytes: int
) -> bytes:
    """Return a diff in which each changed image has its new content, as far as it is known.

    `content_of` gives the content of an object. The diff gets no larger than `most_bytes`.
    """
    if b"\nGIT binary patch\ndelta " not in diff:
        return diff
    sections = _SECTION.split(diff)
    room = most_bytes - len(diff)
    for place, section in enumerate(sections):
        name = section.partition(b"\n")[0].rstrip(b'"').lower()
        if not name.endswith(IMAGE_SUFFIXES):
            continue
        found = _DIFFERENCES.search(section)
        content = content_of(found["after"].decode()) if found else None
        if found is None or content is None or len(content) > MAX_IMAGE_BYTES:
            continue
        hunk = _literal(content)
        added = len(hunk) - len(found["hunk"])
        if added <= room:
            room -= added
            sections[place] = section[: found.start("hunk")] + hunk + section[found.end("hunk") :]
    return b"".join(sections)


def _literal(content: bytes) -> bytes:
    packed = zlib.compress(content)
    lines = [b"literal %d\n" % len(content)]
    for start in range(0, len(packed), _LINE_BYTES):
        part = packed[start : start + _LINE_BYTES]
        # A letter stands for the number of bytes: A to Z for 1 to 26, a to z for 27 to 52.
        beyond = len(part) - _LETTERS
        size = ord("a") + beyond - 1 if beyond > 0 else ord("A") + len(part) - 1
        lines.append(b"%c%s\n" % (size, base64.b85encode(part, pad=True)))
    return b"".join(lines)
