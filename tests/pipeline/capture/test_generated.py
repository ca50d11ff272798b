"""Tests with generated trees that the stored patch leads from any tree to any other."""

from __future__ import annotations

import base64
import io
import os
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.backends import Backend, Repository
from tests.support.git.exactness import check_exact, tree_left_by
from tests.support.suite.generated import generated

pytestmark = pytest.mark.cloud_with_all(
    "the script is the same, and test_changes has a sample in the cloud"
)

Tree = Mapping[bytes, tuple[str, bytes]]
"""Kind (file, program or link) and contents by name."""

PIECES = (
    b"a", b"line\n", b"\r\n", b"\r", b"\n", b"\0", b"\xff\xfe", b"caf\xe9", b"\xc3\xa9", b" ",
    b"-- \n", b"---\n", b"From x\n", b"diff --git a/a b/a\n", b"\\ No newline\n", b"\x1a", b"+",
)  # fmt: skip
NAME_PIECES = (
    b"a", b"B", b" ", b"\n", b"\t", b'"', b"'", b"\\", b"*", b"?", b"[", b"-", b"#", b"!", b"\xe9",
    b"\xc3\xa9", b"e\xcc\x81", b"\r", b"\x01", b"$(x)", b";", b"{", b"=>", b".",
)  # fmt: skip

contents = st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join)
names = (
    st.lists(st.sampled_from(NAME_PIECES), min_size=1, max_size=4)
    .map(b"".join)
    .filter(lambda name: name.lower() not in {b".", b"..", b".git"})
)
paths = st.lists(names, min_size=1, max_size=2).map(b"/".join)
targets = contents.map(lambda data: data.replace(b"\0", b"0")[:100] or b"x")
entries = st.one_of(
    st.tuples(st.sampled_from(("file", "program")), contents),
    st.tuples(st.just("link"), targets),
)


def without_conflicts(tree: Tree) -> Tree:
    """Remove paths below a path that is a file."""
    return {path: entry for path, entry in tree.items() if path.split(b"/")[0] not in tree} | {
        path: entry for path, entry in tree.items() if b"/" not in path
    }


trees = st.dictionaries(paths, entries, max_size=5).map(without_conflicts)


def unpacking(tree: Tree) -> str:
    """Return a script that replaces all files with a tree."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, (kind, data) in tree.items():
            entry = tarfile.TarInfo("./" + os.fsdecode(path))
            if kind == "link":
                entry.type, entry.linkname = tarfile.SYMTYPE, os.fsdecode(data)
                archive.addfile(entry)
            else:
                entry.size, entry.mode = len(data), 0o755 if kind == "program" else 0o644
                archive.addfile(entry, io.BytesIO(data))
    text = base64.encodebytes(packed.getvalue()).decode()
    return (
        "find . -mindepth 1 -maxdepth 1 ! -name .git -exec rm -rf -- {} +\n"
        f"base64 -d <<'END' | tar xf - --no-same-owner\n{text}END\n"
    )


def test_any_tree_leads_to_any_other(shell: Backend, runs_all: bool) -> None:
    @generated(30 if runs_all else 5)
    @given(before=trees, between=st.none() | trees, after=trees)
    def leads(before: Tree, between: Tree | None, after: Tree) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            check_change(shell, Path(temporary), before, between, after)

    leads()


def check_change(
    shell: Backend, folder: Path, before: Tree, between: Tree | None, after: Tree
) -> None:
    """Check what a task stores that turns one tree into another, by a commit between if given."""
    repository = Repository(folder / "repository")
    repository.commit(unpacking(before))
    commit = "git add -A; git commit -qm Between\n"
    script = (unpacking(between) + commit if between is not None else "") + unpacking(after)
    task = shell.complete(script, repository)
    expected = tree_left_by(repository, script, folder / "expected")
    if task["git_patch"]:
        check_exact(shell, task, repository, expected, folder)
    assert task["execution_metadata"]["tree_hash"] == expected
    assert bool(task["git_diff"]) == bool(task["changed_files"])
