"""Parses what git prints, and tells git which files to print as binary."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

NO_OBJECT = re.compile(r"^0+$")
SUBMODULE_MODE = "160000"
LINK_MODE = "120000"

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


def parse_changes(output: bytes) -> list[ChangedPath]:
    """Parse the output of `git diff --raw --numstat --no-renames --no-abbrev`."""
    raw: dict[bytes, tuple[str, str, str, str]] = {}
    counts: dict[bytes, tuple[int | None, int | None]] = {}
    for line in output.split(b"\n"):
        if line.startswith(b":"):
            columns, path = line[1:].split(b"\t", 1)
            old_mode, new_mode, old, new, _status = columns.decode().split(" ")
            raw[unquote_path(path)] = (old_mode, new_mode, old, new)
        elif line:
            added, deleted, path = line.split(b"\t", 2)
            counts[unquote_path(path)] = (_count(added), _count(deleted))
    return [
        ChangedPath(path, *columns, *counts.get(path, (None, None)))
        for path, columns in raw.items()
    ]


def unquote_path(path: bytes) -> bytes:
    """Decode a path that git printed with core.quotePath (quotes and C escapes)."""
    if not path.startswith(b'"'):
        return path
    return path[1:-1].decode("unicode_escape").encode("latin-1")


def _count(field: bytes) -> int | None:
    return None if field == b"-" else int(field)


def split_patch_mail(mail: bytes) -> tuple[bytes, bytes, bytes]:
    """Split the output of `git format-patch --raw --numstat` for one commit of ours.

    Return the message, the list of changes and the diff. The output of an empty commit is empty.
    """
    if not mail:
        return b"", b"", b""
    changes = mail.index(b"\n\n:") + 2
    diff = mail.index(b"\n\n", changes) + 2
    return mail[:changes], mail[changes:diff], mail[diff:]


def parse_objects(output: bytes) -> dict[str, bytes]:
    """Parse the output of `git cat-file --batch`; return contents by object name."""
    return dict(_objects(output))


def _objects(output: bytes) -> Iterator[tuple[str, bytes]]:
    position = 0
    while position < len(output):
        end = output.index(b"\n", position)
        words = output[position:end].split(b" ")
        position = end + 1
        if len(words) == 3:  # noqa: PLR2004 - name, type, size; other lines say "missing"
            size = int(words[2])
            yield words[0].decode(), output[position : position + size]
            position += size + 1


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
