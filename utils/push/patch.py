"""Reads what has to be known of a stored patch before it can be applied: runs and objects."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from utils.git.output import LINK_MODE, NO_OBJECT, SUBMODULE_MODE, unquote_path

# No line of a diff begins with a word and a space but git's own headers: lines of files have a
# sign before them, base85 knows no space. The capture keeps messages that would pass for either
# out of the patch.
_MAIL = re.compile(rb"^From [0-9a-f]{40,64} Mon Sep 17 00:00:00 2001$", re.MULTILINE)
_HEADER = re.compile(
    rb"^(?:(?P<file>diff --git )(?P<names>.*)"
    rb"|index (?P<old>[0-9a-f]+)\.\.(?P<new>[0-9a-f]+)(?: (?P<mode>[0-7]+))?"
    rb"|(?:(?:old|new) mode|(?:new|deleted) file mode) (?P<named_mode>[0-7]+)"
    rb"|(?:rename|copy) (?:from (?P<source>.*)|to (?P<target>.*)))$",
    re.MULTILINE,
)
# git cannot tell where the first name ends when a folder's name ends with a blank, and a binary
# file has no other line with its name.
_AMBIGUOUS = re.compile(rb"^diff --git (?P<names>a/.* /.*)$", re.MULTILINE)
_SUBMODULE = SUBMODULE_MODE.encode()
_LINK = LINK_MODE.encode()


@dataclass(frozen=True, slots=True)
class PatchPlan:
    """A patch in parts to be applied one after the other, and what it needs of the repository.

    `runs` are the parts that one process of git can apply, one run after the other. `objects` are
    the blobs the patch names and does not itself make; `paths` those of files whose blob it does
    not name, because their content stays.
    """

    runs: tuple[tuple[bytes, ...], ...]
    objects: tuple[str, ...]
    paths: frozenset[bytes]


@dataclass(slots=True)
class _File:
    names: bytes
    old: str = ""
    new: str = ""
    source: bytes | None = None
    target: bytes | None = None
    modes: set[bytes] = field(default_factory=set)

    @property
    def path(self) -> bytes:
        """The path before the change. Without a rename both names are the same, and as long."""
        if self.source is not None:
            return unquote_path(self.source)
        return unquote_path(self.names[: len(self.names) // 2])[len(b"a/") :]

    @property
    def new_path(self) -> bytes:
        """The path after the change."""
        return self.path if self.target is None else unquote_path(self.target)


def plan_patch(patch: bytes) -> PatchPlan:
    """Read `git format-patch --binary --full-index` of any number of commits."""
    parts = [(part, list(_files(part))) for part in _parts(patch)]
    wanted: dict[str, None] = {}
    made: set[str] = set()
    paths: set[bytes] = set()
    for _, changed in parts:
        files = [file for file in changed if _SUBMODULE not in file.modes]
        old = {file.old: None for file in files if not NO_OBJECT.match(file.old)}
        wanted |= {name: None for name in old if name and name not in made}
        paths.update(file.path for file in files if not file.old)
        # Only afterwards: two files may swap their contents.
        made.update(file.new for file in files)
    return PatchPlan(tuple(_runs(parts)), tuple(wanted), frozenset(paths))


def _runs(parts: Iterable[tuple[bytes, Collection[_File]]]) -> Iterator[tuple[bytes, ...]]:
    """Begin a new run where a link that the run made is a folder by now.

    To a process of git a link of one part stays one, whatever later parts make of it.
    """
    run: list[bytes] = []
    links: set[bytes] = set()
    for part, files in parts:
        if links and any(_is_below(file.new_path, links) for file in files):
            yield tuple(run)
            run, links = [], set()
        run.append(part)
        links.update(file.new_path for file in files if _LINK in file.modes)
    if run:
        yield tuple(run)


def _is_below(path: bytes, links: Collection[bytes]) -> bool:
    folders = accumulate(path.split(b"/")[:-1], lambda above, name: above + b"/" + name)
    return any(folder in links for folder in folders)


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
    if header["target"] is not None:
        file.target = header["target"]
    file.modes.update(mode for mode in (header["mode"], header["named_mode"]) if mode)
