"""Puts into sentences what is not part of a result, and why."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from utils.git.output import decode_path
from utils.pipeline.capture.bundle import LeftOut, Raw

NAME_CHARACTERS = 200
"""Longest shown part of a name."""

NOTES_BYTES = 40_000
MOST_NOTES = 20
SHOWN_NAMES = 3

_COUNT = re.compile(rb"[0-9]{1,9}")
_COMMIT = re.compile(r"[0-9a-f]{40,64}")


def capture_notes(raw: Raw, new_file_bytes: int, patch_bytes: int) -> Iterator[str]:
    """Yield a sentence or two for each kind of things that are not part of the result.

    The agent can write to the bundle, so a line that the script cannot have written is ignored.
    """
    if raw.left_out:
        yield _left_out(raw.left_out)
    limits = {"large": new_file_bytes, "too_much": patch_bytes}
    for line in raw.notes[:NOTES_BYTES].split(b"\n", MOST_NOTES)[:MOST_NOTES]:
        word, _, rest = line.partition(b"\t")
        count, *names = rest.split(b"\t", SHOWN_NAMES + 1)
        kind = word.decode("ascii", "replace")
        if kind in SENTENCES and _COUNT.fullmatch(count):
            shown = [_shown(name) for name in names[:SHOWN_NAMES] if name]
            listed = _listed(shown, int(count), FORMATS.get(kind, str))
            yield SENTENCES[kind].format(names=listed, limit=limits.get(kind, 0))


def _shown(name: bytes) -> str:
    text = decode_path(name[: 4 * NAME_CHARACTERS])[:NAME_CHARACTERS]
    return "".join(c if c.isprintable() else "?" for c in text)


def _listed(names: list[str], count: int, form: Callable[[str], str]) -> str:
    more = count - len(names)
    return ", ".join(map(form, names)) + (f" and {more} more" if more > 0 else "")


def _left_out(left_out: LeftOut) -> str:
    names = [name[:NAME_CHARACTERS] for name in left_out.names]
    return (
        f"Left out: {_listed(names, left_out.count, str)}. Either git or its hosts refuse "
        "the name, or the content cannot be read. All other changes are stored. Have the agent "
        "rename it or make it readable, and start the task again."
    )


def _branch(text: str) -> str:
    """Return `NAME (N commits)` for `N refs/heads/NAME` or `N NAME`."""
    count, _, name = text.partition(" ")
    return f"{name} ({count} {'commit' if count == '1' else 'commits'})"


def _worktree(text: str) -> str:
    """Return the folder and what is checked out, for `BRANCH-OR-COMMIT FOLDER`."""
    place, _, folder = text.partition(" ")
    if place == "?":
        return folder
    if _COMMIT.fullmatch(place):
        return f"{folder} (commit {place[:12]})"
    return f"{folder} (branch {place})"


def _commit(text: str) -> str:
    return text[:12]


FORMATS: dict[str, Callable[[str], str]] = {
    "worktrees": _worktree,
    "branches": _branch,
    "references": _branch,
    "stashes": _commit,
    "commits": _commit,
}
"""Functions that return the shown form of a name, for kinds whose names hold more than that."""

SENTENCES = {
    "folders": "Left out because programs generate these folders: {names}. To keep one, have the "
    "agent commit it, or set generated_folders in the settings of the project.",
    "large": "Left out because a new file may have at most MAX_NEW_FILE_BYTES ({limit}): {names}. "
    "All other changes are stored.",
    "too_much": "Left out because all changes together are larger than MAX_PATCH_BYTES ({limit}), "
    "largest first: {names}. All other changes are stored.",
    "submodules": "Changes inside of submodules are not part of the result: {names}. Start a task "
    "in the repository of the submodule.",
    "lfs": "Changed files of Git LFS: {names}. Their content was not sent to the LFS server: add "
    "them with git lfs before you merge.",
    "taken": "The agent left its commits on another branch, {names}. They are the result.",
    "worktrees": "Linked worktrees are not part of the result: {names}. Have the agent merge their "
    "branches, and start the task again.",
    "branches": "Not part of the result, because the agent did not merge them: branch {names}. "
    "Have the agent merge what you need, and start the task again.",
    "references": "Not part of the result: commits of {names}.",
    "stashes": "Not part of the result: what the agent stashed and did not apply ({names}).",
    "unreadable": "The branches of the repository could not be read ({names}). Commits that are "
    "not at HEAD are not part of the result.",
    "commits": "Not part of the result: commits that no branch contains any more ({names}).",
}
"""Sentences by kind, with `names` and, for some, `limit`. The kinds are explained in bundle.sh."""
