"""Reads from a diff which files it changes, and which text it adds to them."""

from __future__ import annotations

from collections.abc import Iterator

from utils.git.output import decode_path, unquote_path

_FILE = "diff --git "


def added_text(diff: str) -> Iterator[tuple[str, str]]:
    """Yield the name of each changed file with the lines that the diff adds to it.

    Accepts the output of `git diff` and of `git format-patch`. The name is the one after the
    change, where the diff names it.
    """
    name, lines, is_in_file = "", [""], False
    for line in diff.split("\n"):
        if line.startswith(_FILE):
            if is_in_file:
                yield name, "\n".join(lines)
            name, lines, is_in_file = _name_in(line), [], True
        elif is_in_file and line.startswith("+"):
            if line.startswith("+++ ") and not lines:
                name = _path(line.removeprefix("+++ ").rstrip("\t")) or name
            else:
                lines.append(line[1:])
    if is_in_file:
        yield name, "\n".join(lines)


def _name_in(header: str) -> str:
    names = header.removeprefix(_FILE)
    # Both names are the same, except for a rename, whose lines follow.
    return _path(names[len(names) // 2 + 1 :]) or names


def _path(name: str) -> str:
    if name == "/dev/null":
        return ""
    plain = decode_path(unquote_path(name.encode("utf-8", "surrogateescape")))
    return plain.removeprefix("b/")
