"""Parses the file in which the capture script returns its result.

The agent can write to the folder of that file, so the content is untrusted. Parsing takes time and
memory in proportion to the sizes that are limited here, whatever the content: every number is short
and bounded by what is left, every section is known, and nothing is searched twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from utils.errors import CaptureError
from utils.git.output import (
    NO_OBJECT,
    SUBMODULE_MODE,
    ChangedPath,
    TooManyChanges,
    decode_path,
    parse_changes,
    parse_objects,
    split_patch_mail,
)

LISTING_BYTES = 16_000_000
"""Largest list of changed files that is accepted: 50,000 files with paths of 100 characters."""

INDEX_BYTES = 2_000
"""Largest index at the end of a bundle. It has two object names and one line for each section."""

LEFT_OUT_BYTES = 100_000
"""Largest section of names that were left out; the script writes the first three names."""

NOTES_BYTES = 1_000_000
"""Bytes that are kept of the notes. The script writes a few names for each kind of them."""

SECTIONS = {
    "mail": 1,
    "changes": 1,
    "contents": 1,
    "patch": 1,
    "diff": 1,
    "left_out": 1,
    "notes": 1,
    "dropped": 8,
}
"""The known sections, and how often each may be in a bundle."""

TOO_LONG = "The list of changed files is too long to be stored."

_COMMIT_AND_TREE = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64}) ([0-9a-f]{40}|[0-9a-f]{64})")
_SECTION_LINE = re.compile(rb"([0-9]{1,10}) ([a-z_]{1,20})")
_COUNT = re.compile(rb"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The files and folders that could not be staged: their number and the first names."""

    count: int
    names: list[str]


@dataclass(frozen=True, slots=True)
class BundleLimits:
    """Limits of what is kept: bytes of a patch or diff, number of files, bytes of one file."""

    patch_bytes: int
    files: int
    file_bytes: int


@dataclass(frozen=True, slots=True)
class Raw:
    """The content of a bundle. A patch, a diff or a file content above its limit is missing."""

    size: int
    commit: str
    tree: str
    changes: list[ChangedPath]
    contents: dict[str, bytes]
    diff: bytes | None
    patch: bytes | None
    is_one_commit: bool
    """True when the patch is a single commit that holds exactly the diff."""
    left_out: LeftOut | None
    notes: bytes
    """Lines about what else is not part of the result; see `utils.pipeline.capture.notes`."""

    def objects_of(self, change: ChangedPath) -> Iterator[str]:
        """Yield the names of the contents before and after the change."""
        for mode, name in (
            (change.old_mode, change.old_object),
            (change.new_mode, change.new_object),
        ):
            if mode != SUBMODULE_MODE and not NO_OBJECT.match(name):
                yield name


def parse_bundle(bundle: bytes, limits: BundleLimits) -> Raw:
    """Parse a bundle, leaving out what exceeds a limit.

    Raises `CaptureError` when the list of changes is too long, and `ValueError` when the script
    cannot have written the bundle.
    """
    commit, tree, places = _read_index(bundle)
    # Only what is kept is copied: a bundle may be several times as large as a patch.
    sections = {
        name: bundle[start:end]
        for name, (start, end) in places.items()
        if name not in {"mail", "contents"}
    }
    patch, diff = sections.get("patch"), sections.get("diff")
    changes = sections.get("changes", b"")
    if "mail" in places:
        message, listed, diff = split_patch_mail(bundle, *places["mail"])
        patch = message + diff
        changes = changes or listed
    return Raw(
        size=len(bundle),
        commit=commit,
        tree=tree,
        changes=_listed(changes),
        contents=parse_objects(
            memoryview(bundle)[slice(*places.get("contents", (0, 0)))],
            max_objects=2 * limits.files,
            max_bytes=limits.file_bytes,
        ),
        diff=_at_most(limits.patch_bytes, diff),
        patch=_at_most(limits.patch_bytes, patch),
        is_one_commit="mail" in places,
        left_out=_left_out(sections.get("left_out")),
        notes=sections.get("notes", b"")[:NOTES_BYTES],
    )


def _listed(changes: bytes) -> list[ChangedPath]:
    if len(changes) > LISTING_BYTES:
        raise CaptureError(TOO_LONG)
    if b"\0" in changes:
        raise ValueError("the list of changes contains a NUL character")
    try:
        return parse_changes(changes)
    except TooManyChanges:
        raise CaptureError(TOO_LONG) from None


def _read_index(bundle: bytes) -> tuple[str, str, dict[str, tuple[int, int]]]:
    """Return the commit, the tree and where the sections begin and end.

    They fill the bundle up to the index.
    """
    end = bundle.rfind(b"\n\n", max(0, len(bundle) - INDEX_BYTES))
    if end < 0:
        raise ValueError("the index is missing")
    first, *lines = bundle[end + 2 :].removesuffix(b"\n").split(b"\n")
    names = _COMMIT_AND_TREE.fullmatch(first)
    if names is None:
        raise ValueError("the names of the commit and the tree are missing")
    places: dict[str, tuple[int, int]] = {}
    times = dict.fromkeys(SECTIONS, 0)
    position = 0
    for line in lines:
        size, name = _section(line)
        times[name] += 1
        if times[name] > SECTIONS[name] or size > end - position:
            raise ValueError("a section is too often or too large")
        if name != "dropped":
            places[name] = (position, position + size)
        position += size
    if position != end:
        raise ValueError("the sections do not fill the bundle")
    return names[1].decode(), names[2].decode(), places


def _section(line: bytes) -> tuple[int, str]:
    match = _SECTION_LINE.fullmatch(line)
    if match is None or match[2].decode() not in SECTIONS:
        raise ValueError("a line of the index is not a section")
    return int(match[1]), match[2].decode()


def _left_out(section: bytes | None) -> LeftOut | None:
    if section is None:
        return None
    if len(section) > LEFT_OUT_BYTES:
        raise ValueError("the list of what was left out is too long")
    count, *names = section.removesuffix(b"\n").split(b"\n")
    if not _COUNT.fullmatch(count.strip()):
        raise ValueError("the number of what was left out is missing")
    return LeftOut(int(count), [decode_path(name) for name in names])


def _at_most(size: int, data: bytes | None) -> bytes | None:
    return data if data is not None and len(data) <= size else None
