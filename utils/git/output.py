"""Parses what git prints, and tells git which files to print as binary."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_CHANGES = 50_000
"""Largest number of changed files that is accepted; each has two lines."""

TAIL_BYTES = 8_192
"""Bytes that are read of the output of a failed command. Hosts and hooks may print any amount."""

LINE_CHARACTERS = 500
"""Longest quoted part of a line."""

NO_OBJECT = re.compile(r"^0+$")
SUBMODULE_MODE = "160000"
LINK_MODE = "120000"

_HEADER = b"diff --git "
_NAME = rb"(?:[0-9a-f]{64}|[0-9a-f]{40})"
_RAW = re.compile(rb":([0-7]{6}) ([0-7]{6}) (%b) (%b) [A-Z][0-9]{0,3}\t" % (_NAME, _NAME))
# Numbers are short, so that sums stay exact in JSON.
_COUNTS = re.compile(rb"([0-9]{1,10}|-)\t([0-9]{1,10}|-)\t")
_OBJECT = re.compile(rb"(%b) [a-z]{3,6} ([0-9]{1,12})\n" % _NAME)
_MISSING = re.compile(rb"[!-~]{1,100} [a-z]{1,20}\n")
_ESCAPE = re.compile(rb'\\([0-7]{3}|[abtnvfr"\\])')
_ESCAPED = {
    b"a": b"\a",
    b"b": b"\b",
    b"t": b"\t",
    b"n": b"\n",
    b"v": b"\v",
    b"f": b"\f",
    b"r": b"\r",
    b'"': b'"',
    b"\\": b"\\",
}

BINARY_LINKS = {"diff.default.binary": "true", "diff.plain.binary": "auto"}
"""Git settings that print symbolic links as binary; attributes cannot. See `binary_attributes`."""


@dataclass(frozen=True, slots=True)
class ChangedPath:
    """One line of `git diff --raw --numstat`; counts are None for binary files."""

    path: bytes
    old_mode: str
    new_mode: str
    old_object: str
    new_object: str
    additions: int | None
    deletions: int | None

    @property
    def is_link(self) -> bool:
        """True when it is a symbolic link before or after the change."""
        return LINK_MODE in {self.old_mode, self.new_mode}


class TooManyChanges(ValueError):
    """A list of changes has more files than `MAX_CHANGES`."""


def parse_changes(output: bytes) -> list[ChangedPath]:
    """Parse the output of `git diff --raw --numstat --no-renames --no-abbrev`.

    Raises `ValueError` when git cannot have written it, and its subclass `TooManyChanges`.
    """
    raw: dict[bytes, tuple[str, str, str, str]] = {}
    counts: dict[bytes, tuple[int | None, int | None]] = {}
    for number, line in enumerate(_lines(output)):
        if number > 2 * MAX_CHANGES + 1:
            raise TooManyChanges
        if columns := _RAW.match(line):
            old_mode, new_mode, old, new = map(bytes.decode, columns.groups())
            path = unquote_path(line[columns.end() :])
            if not path:
                raise ValueError("a changed file has no name")
            raw[path] = (old_mode, new_mode, old, new)
        elif columns := _COUNTS.match(line):
            path = unquote_path(line[columns.end() :])
            if path in raw:
                counts[path] = (_count(columns[1]), _count(columns[2]))
        elif line:
            raise ValueError("a line of the list of changes is none of git's")
    return [
        ChangedPath(path, *columns, *counts.get(path, (None, None)))
        for path, columns in raw.items()
    ]


def _lines(output: bytes) -> Iterator[bytes]:
    # Not `split`, which would make all lines at once.
    start = 0
    while start < len(output):
        end = output.find(b"\n", start)
        end = len(output) if end < 0 else end
        yield output[start:end]
        start = end + 1


def unquote_path(path: bytes) -> bytes:
    """Decode a path that git printed with core.quotePath (quotes and C escapes)."""
    if not path.startswith(b'"'):
        return path
    return _ESCAPE.sub(_unescaped, path[1:-1])


def _unescaped(escape: re.Match[bytes]) -> bytes:
    code = escape[1]
    return bytes([int(code, 8) & 0xFF]) if code.isdigit() else _ESCAPED[code]


def _count(field: bytes) -> int | None:
    return None if field == b"-" else int(field)


def split_patch_mail(output: bytes, start: int, end: int) -> tuple[bytes, bytes, bytes]:
    """Split what `git format-patch --raw --numstat` has printed for one commit of ours.

    It is a part of the output. Return the message, the list of changes and the diff. That of an
    empty commit is empty.
    """
    if start == end:
        return b"", b"", b""
    changes = output.index(b"\n\n:", start, end) + 2
    diff = output.index(b"\n\n", changes, end) + 2
    return output[start:changes], output[changes:diff], output[diff:end]


def with_quoted_headers(diff: bytes) -> bytes:
    """Return a diff in which git before 2.45 finds the names of all files, in linear time.

    In `diff --git a/x /y b/x /y` it finds none, because a folder ends in a blank, and a file that
    is binary or empty has no other line with its name. It finds names in quotes.
    """
    if b" /" not in diff:
        return diff
    return b"\n".join(map(_quoted_header, diff.split(b"\n")))


def _quoted_header(line: bytes) -> bytes:
    names = line.removeprefix(_HEADER)
    if names == line or b" /" not in names:
        return line
    # Names that differ are in lines of their own, `rename from` and `rename to`.
    half = len(names) // 2
    old, new = names[:half], names[half + 1 :]
    is_same = names == b"a/%b b/%b" % (old[2:], old[2:])
    return b'%b"%b" "%b"' % (_HEADER, old, new) if is_same else line


def parse_objects(
    output: bytes | memoryview, *, max_objects: int, max_bytes: int
) -> dict[str, bytes]:
    """Parse the output of `git cat-file --batch`; return contents by object name.

    Contents above `max_bytes` are left out. Raises `ValueError` when git cannot have written the
    output, or when there are more than `max_objects` lines of objects.
    """
    contents: dict[str, bytes] = {}
    position = number = 0
    while position < len(output):
        number += 1
        header = _OBJECT.match(output, position) or _MISSING.match(output, position)
        if header is None or number > max_objects:
            raise ValueError("the list of contents is none of git's, or too long")
        position = header.end()
        if header.re is _MISSING:
            continue
        name, size = header[1].decode(), int(header[2])
        if size > len(output) - position:
            raise ValueError("a content is larger than what is left")
        if size <= max_bytes:
            contents[name] = bytes(output[position : position + size])
        position += size + 1
    return contents


def last_line(output: bytes) -> str:
    """Return the beginning of the last line that is not blank; whole words, empty without any."""
    lines = [line for line in tail(output).splitlines() if line.strip()]
    line = " ".join(lines[-1].split()) if lines else ""
    # Not within a word: the redactor would not recognise half of a secret.
    return line if len(line) <= LINE_CHARACTERS else line[:LINE_CHARACTERS].rpartition(" ")[0]


def tail(output: bytes) -> str:
    """Return the last lines of what a command printed, which say why it failed."""
    end = output[-TAIL_BYTES:]
    if len(end) < len(output):
        end = end.partition(b"\n")[2] or end
    return end.decode("utf-8", "replace")


def decode_path(path: bytes) -> str:
    r"""Decode a path as UTF-8; other bytes become escapes such as `\xe9`."""
    return path.decode("utf-8", "backslashreplace").replace("\0", "\\0")


_PLAIN_BYTES = frozenset(string.ascii_letters.encode() + string.digits.encode() + b"/._-+*?[] ")


def binary_attributes(changes: Iterable[ChangedPath], *, links: bool) -> bytes:
    """Return a gitattributes file that makes git treat exactly these files as binary.

    Attributes have no effect on symbolic links. With `links` and the settings `BINARY_LINKS`, git
    treats all links as binary: the default diff driver is binary, and all files that are not links
    get a driver of their own (`plain`) that behaves like git's default.
    """
    first = b"* diff=plain\n" if links else b""
    return first + b"".join(_attribute_line(change.path) for change in changes)


def _attribute_line(path: bytes) -> bytes:
    pattern = re.sub(rb"([*?\[\]\\])", rb"\\\1", path)
    quoted = b"".join(
        bytes([byte]) if byte in _PLAIN_BYTES else b"\\%03o" % byte for byte in b"/" + pattern
    )
    return b'"' + quoted + b'" -diff\n'
