"""Splits a unified diff into styled lines and counts its changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from demo.console import Style

_CONTENT_STYLES: dict[str, Style] = {"+": "green", "-": "red"}


@dataclass(slots=True)
class FileCount:
    """The number of lines added to and removed from a file."""

    name: str
    added: int = 0
    removed: int = 0


def count_files(diff: str) -> list[FileCount]:
    """Return the number of added and removed lines of each file, in the order of the diff."""
    counts: list[FileCount] = []
    for line, style in styled(diff):
        if line.startswith("diff --git "):
            counts.append(FileCount(_name(line)))
        elif style == "green":
            counts[-1].added += 1
        elif style == "red":
            counts[-1].removed += 1
    return counts


def styled(diff: str) -> Iterator[tuple[str, Style | None]]:
    """Yield each line with its style. Inside a hunk, `---` and `+++` are content."""
    in_hunk = False
    for line in diff.split("\n")[: -1 if diff.endswith("\n") else None]:
        if line.startswith("diff --git "):
            in_hunk = False
        elif line.startswith("@@"):
            in_hunk = True
        yield line, _style(line, in_hunk=in_hunk)


def _style(line: str, *, in_hunk: bool) -> Style | None:
    if not in_hunk:
        return "bold"
    if line.startswith("@@"):
        return "cyan"
    return _CONTENT_STYLES.get(line[:1])


def _name(header: str) -> str:
    """Return the new name from a line `diff --git a/old b/new`."""
    names = header.removeprefix("diff --git ")
    half = len(names) // 2
    old, new = names[:half].strip('"'), names[half + 1 :].strip('"')
    if old.removeprefix("a/") == new.removeprefix("b/"):
        return new.removeprefix("b/")
    return names.rpartition(" b/")[2]
