"""Generated changes: whatever they are, the pull request of the task holds what they left."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pipeline.capture.test_generated import (
    Tree,
    contents,
    entries,
    paths,
    targets,
    trees,
    unpacking,
    without_conflicts,
)
from tests.support.backends import Repository, git
from tests.support.pull_requests import Hub
from tests.support.suite.generated import generated

pytestmark = pytest.mark.local_only("all odd changes together go through the other place")

Change = tuple[Any, ...]
"""An operation, the file it applies to, and its content."""
ChangeSet = tuple[Tree, list[Change], list[Change]]
"""The files of a base, what a commit changes, and what is changed after it."""

which = st.integers(0, 9)
changes: st.SearchStrategy[Change] = st.one_of(
    st.tuples(st.just("add"), which, st.tuples(paths, entries)),
    st.tuples(st.just("move"), which, paths),
    st.tuples(st.just("edit"), which, contents),
    st.tuples(st.just("change mode"), which, st.none()),
    st.tuples(st.just("link"), which, targets),
    st.tuples(st.just("delete"), which, st.none()),
)
steps = st.lists(changes, min_size=1, max_size=3)
change_sets = st.lists(st.tuples(trees, steps, steps), min_size=4, max_size=6)


def changed(tree: Tree, changes_made: list[Change]) -> Tree:
    """Return what some changes make of a tree."""
    result = dict(tree)
    for what, number, value in changes_made:
        if what == "add":
            result[value[0]] = value[1]
        elif result:
            path = [*result][number % len(result)]
            kind, data = result.pop(path)
            if what == "move":
                result[value] = kind, data
            elif what == "link":
                result[path] = "link", value
            elif what == "change mode":
                result[path] = {"file": "program", "program": "file"}.get(kind, kind), data
            elif what == "edit":
                more = value.replace(b"\0", b"0") if kind == "link" else value
                result[path] = kind, data + (more or b"x")
    return without_conflicts(result)


def together(made: list[Tree]) -> Tree:
    """Return one tree with a folder for each."""
    return {
        b"%d/%s" % (number, path): entry
        for number, tree in enumerate(made)
        for path, entry in tree.items()
    }


def test_any_changes_become_a_pull_request_that_holds_them(hub: Hub, runs_all: bool) -> None:
    @generated(8 if runs_all else 2)
    @given(change_sets)
    def become_a_pull_request(made: list[ChangeSet]) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            check_pull_request(hub, Path(temporary), made)

    become_a_pull_request()


def check_pull_request(hub: Hub, folder: Path, made: list[ChangeSet]) -> None:
    """Check the pull request of a task that makes all changes, each in a folder of its own."""
    before = [tree for tree, _, _ in made]
    between = [changed(tree, first) for tree, first, _ in made]
    after = [changed(tree, last) for tree, (_, _, last) in zip(between, made, strict=True)]
    origin = Repository(folder / "origin")
    origin.commit(unpacking(together(before)))
    wanted = Repository(folder / "wanted")
    wanted.commit(unpacking(together(after)))
    hosted = hub.host(origin)
    commit = "git add --all; git commit -qm Between\n"
    task_id = hosted.task(unpacking(together(between)) + commit + unpacking(together(after)))
    branch = hosted.created(task_id)["branch"]
    assert hosted.rev(f"{branch}^{{tree}}") == git(wanted.folder, "rev-parse", "HEAD^{tree}")
    assert hosted.rev(f"{branch}^") == origin.head
    git(hosted.bare, "fsck", "--strict", "--no-dangling")
