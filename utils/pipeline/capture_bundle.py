"""Parses the file in which the capture script returns its result.

The agent can write to the folder of that file, so the content is untrusted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from utils.errors import CaptureError
from utils.git.output import (
    NO_OBJECT,
    SUBMODULE_MODE,
    ChangedPath,
    decode_path,
    parse_changes,
    parse_objects,
    split_patch_mail,
)

LISTING_BYTES = 64_000_000
"""Largest list of changed files that is accepted: several hundred thousand files."""

TOO_LONG = "The list of changed files is too long to be stored."

_COMMIT_AND_TREE = re.compile(r"[0-9a-f]{40,64} [0-9a-f]{40,64}")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The files and folders that could not be staged: their number and the first names."""

    count: int
    names: list[str]


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

    def contents_of(self, change: ChangedPath) -> Iterator[bytes | None]:
        """Yield the contents before and after the change, None for one that was not read."""
        for mode, name in (
            (change.old_mode, change.old_object),
            (change.new_mode, change.new_object),
        ):
            if mode != SUBMODULE_MODE and not NO_OBJECT.match(name):
                yield self.contents.get(name)


def parse_bundle(bundle: bytes, patch_bytes: int, file_bytes: int) -> Raw:
    """Parse a bundle, leaving out what exceeds a limit.

    Raises `CaptureError` when the list of changes is too long, and `ValueError` when the script
    cannot have written the bundle.
    """
    first, *lines = bundle[bundle.rindex(b"\n\n") + 2 :].decode().splitlines()
    if not _COMMIT_AND_TREE.fullmatch(first):
        raise ValueError("the names of the commit and the tree are missing")
    commit, tree = first.split(" ")
    sections = dict(_sections(bundle, lines))
    patch, diff = sections.get("patch"), sections.get("diff")
    changes = sections.get("changes", b"")
    if "mail" in sections:
        message, listed, diff = split_patch_mail(sections["mail"])
        patch = message + diff
        changes = changes or listed
    if len(changes) > LISTING_BYTES:
        raise CaptureError(TOO_LONG)
    if b"\0" in changes:
        raise ValueError("the list of changes contains a NUL character")
    objects = parse_objects(sections.get("contents", b""))
    return Raw(
        size=len(bundle),
        commit=commit,
        tree=tree,
        changes=parse_changes(changes),
        contents={name: data for name, data in objects.items() if len(data) <= file_bytes},
        diff=_at_most(patch_bytes, diff),
        patch=_at_most(patch_bytes, patch),
        is_one_commit="mail" in sections,
        left_out=_left_out(sections.get("left_out")),
    )


def _sections(bundle: bytes, lines: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    position = 0
    for line in lines:
        size, name = line.split(" ")
        yield name, bundle[position : position + int(size)]
        position += int(size)


def _left_out(section: bytes | None) -> LeftOut | None:
    if section is None:
        return None
    count, *names = section.removesuffix(b"\n").split(b"\n")
    return LeftOut(int(count), [decode_path(name) for name in names])


def _at_most(size: int, data: bytes | None) -> bytes | None:
    return data if data is not None and len(data) <= size else None
