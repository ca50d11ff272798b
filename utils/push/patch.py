"""Plans how to apply a stored patch: in which runs, and with which objects."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from utils.git.output import LINK_MODE, NO_OBJECT, SUBMODULE_MODE, unquote_path

# Only git's headers begin with a word and a space: content lines begin with a sign, and base85 has
# no spaces. The capture removes messages that look like headers.
_MAIL = re.compile(rb"^From [0-9a-f]{40,64} Mon Sep 17 00:00:00 2001$", re.MULTILINE)
_HEADER = re.compile(
    rb"^(?:(?P<file>diff --git )(?P<names>.*)"
    rb"|index (?P<old>[0-9a-f]+)\.\.(?P<new>[0-9a-f]+)(?: (?P<mode>[0-7]+))?"
    rb"|(?:(?:old|new) mode|(?:new|deleted) file mode) (?P<named_mode>[0-7]+)"
    rb"|(?:rename|copy) (?:from (?P<source>.*)|to (?P<target>.*)))$",
    re.MULTILINE,
)
# When a folder's name ends with a blank, git cannot find the end of the first name, and a binary
# file has no other line with its name.
_AMBIGUOUS = re.compile(rb"^diff --git (?P<names>a/.* /.*)$", re.MULTILINE)
_SUBMODULE = SUBMODULE_MODE.encode()
_LINK = LINK_MODE.encode()


@dataclass(frozen=True, slots=True)
class PatchPlan:
    """The parts of a patch in order, and the objects that they need from the repository.

    Each of `runs` holds the parts that one git process can apply. `objects` are the blobs that the
    patch names and does not create. `paths` are files whose blob the patch does not name, because
    their content does not change.
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
        """The path before the change. Without a rename both names have the same length."""
        if self.source is not None:
            return unquote_path(self.source)
        return unquote_path(self.names[: len(self.names) // 2])[len(b"a/") :]

    @property
    def new_path(self) -> bytes:
        """The path after the change."""
        return self.path if self.target is None else unquote_path(self.target)


def plan_patch(patch: bytes) -> PatchPlan:
    """Parse the output of `git format-patch --binary --full-index` for one or more commits."""
    parts = [(part, list(_files(part))) for part in _parts(patch)]
    needed: dict[str, None] = {}
    created: set[str] = set()
    paths: set[bytes] = set()
    for _, changed in parts:
        files = [file for file in changed if _SUBMODULE not in file.modes]
        old = {file.old: None for file in files if not NO_OBJECT.match(file.old)}
        needed |= {name: None for name in old if name and name not in created}
        paths.update(file.path for file in files if not file.old)
        # After the loop, because two files may swap their contents.
        created.update(file.new for file in files)
    return PatchPlan(tuple(_runs(parts)), tuple(needed), frozenset(paths))


def is_one_commit_of(patch: str, diff: str) -> bool:
    """Tell whether a patch is one commit with exactly this diff, so that both do the same."""
    message = patch.removesuffix(diff)
    return (
        len(message) < len(patch)
        and message.endswith("\n\n")
        and len(_MAIL.findall(patch.encode())) == 1
        and "\ndiff --git " not in message
    )


def _runs(parts: Iterable[tuple[bytes, Collection[_File]]]) -> Iterator[tuple[bytes, ...]]:
    """Begin a new run where a link that the run created has become a folder.

    A git process treats the path as a link for the rest of its run.
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
        # Skip the message, which `git apply` would parse as well.
        first = re.compile(rb"^diff --git ", re.MULTILINE).search(patch, start, end)
        if first:
            yield _AMBIGUOUS.sub(_quoted, patch[first.start() : end])


def _quoted(header: re.Match[bytes]) -> bytes:
    names = header["names"]
    old, new = names[: len(names) // 2], names[len(names) // 2 + 1 :]
    # A rename has lines of its own for both names.
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
