"""Reads what has to be known of a stored patch before it can be applied: parts and objects."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from utils import git

# No line of a diff begins with a word and a space but git's own headers: lines of files have a
# sign before them, base85 knows no space. The capture keeps messages that would pass for either
# out of the patch.
_MAIL = re.compile(rb"^From [0-9a-f]{40,64} Mon Sep 17 00:00:00 2001$", re.MULTILINE)
_HEADER = re.compile(
    rb"^(?:(?P<file>diff --git )(?P<names>.*)"
    rb"|index (?P<old>[0-9a-f]+)\.\.(?P<new>[0-9a-f]+)(?: (?P<mode>[0-7]+))?"
    rb"|(?:(?:old|new) mode|(?:new|deleted) file mode) (?P<named_mode>[0-7]+)"
    rb"|(?:rename|copy) from (?P<source>.*))$",
    re.MULTILINE,
)
# git cannot tell where the first name ends when a folder's name ends with a blank, and a binary
# file has no other line with its name.
_AMBIGUOUS = re.compile(rb"^diff --git (?P<names>a/.* /.*)$", re.MULTILINE)
_SUBMODULE = git.SUBMODULE_MODE.encode()


@dataclass(frozen=True, slots=True)
class PatchPlan:
    """A patch in parts to be applied one after the other, and what it needs of the repository.

    `objects` are the blobs it names and does not itself make; `paths` those of files whose blob it
    does not name, because their content stays.
    """

    parts: tuple[bytes, ...]
    objects: tuple[str, ...]
    paths: frozenset[bytes]


@dataclass(slots=True)
class _File:
    names: bytes
    old: str = ""
    new: str = ""
    source: bytes | None = None
    is_submodule: bool = False

    @property
    def path(self) -> bytes:
        """The path before the change. Without a rename both names are the same, and as long."""
        if self.source is not None:
            return git.unquoted(self.source)
        return git.unquoted(self.names[: len(self.names) // 2])[len(b"a/") :]


def plan_patch(patch: bytes) -> PatchPlan:
    """Read `git format-patch --binary --full-index` of any number of commits."""
    parts = tuple(_parts(patch))
    wanted: dict[str, None] = {}
    made: set[str] = set()
    paths: set[bytes] = set()
    for part in parts:
        files = [file for file in _files(part) if not file.is_submodule]
        old = {file.old: None for file in files if not git.NO_OBJECT.match(file.old)}
        wanted |= {name: None for name in old if name and name not in made}
        paths.update(file.path for file in files if not file.old)
        # Only afterwards: two files may swap their contents.
        made.update(file.new for file in files)
    return PatchPlan(parts, tuple(wanted), frozenset(paths))


def _parts(patch: bytes) -> Iterator[bytes]:
    starts = [match.start() for match in _MAIL.finditer(patch)] or [0]
    for start, end in zip(starts, [*starts[1:], len(patch)], strict=True):
        # What is before is the message, which `git apply` would read too.
        first = re.compile(rb"^diff --git ", re.MULTILINE).search(patch, start, end)
        if first:
            yield _AMBIGUOUS.sub(_quoted, patch[first.start() : end])


def _quoted(header: re.Match[bytes]) -> bytes:
    names = header["names"]
    old, new = names[: len(names) // 2], names[len(names) // 2 + 1 :]
    # A file that is renamed has lines of its own for both names.
    if old.removeprefix(b"a/") != new.removeprefix(b"b/"):
        return header[0]
    return b'diff --git "%b" "%b"' % (old, new)


def _files(part: bytes) -> Iterator[_File]:
    file = None
    for header in _HEADER.finditer(part):
        if header["file"]:
            if file:
                yield file
            file = _File(header["names"])
        elif file:
            _read(header, file)
    if file:
        yield file


def _read(header: re.Match[bytes], file: _File) -> None:
    if header["old"]:
        file.old, file.new = header["old"].decode(), header["new"].decode()
    if header["source"] is not None:
        file.source = header["source"]
    if _SUBMODULE in {header["mode"], header["named_mode"]}:
        file.is_submodule = True
