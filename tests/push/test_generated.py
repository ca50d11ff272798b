"""Generated trees: from any one to any other, what is pushed is what the sandbox held."""

from __future__ import annotations

import tempfile
from itertools import zip_longest
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pipeline.capture.test_generated import Tree, entries, trees, unpacking, without_conflicts
from tests.pull_requests.test_generated import together
from tests.support.backends import Backend, Repository, git
from tests.support.git.pushes import publish, push, request_of, tree_on
from tests.support.git.server import GitServer
from tests.support.suite.generated import generated

pytestmark = pytest.mark.local_only("the place of a task is told by its capture's tests")

# So few names that from commit to commit most of them become something else.
few_paths = st.sampled_from([b"d", b"d/x", b"d/x y", b"e ", b"e /x", b"f\n", b"f\n/x"])
turning = st.dictionaries(few_paths, entries, min_size=2, max_size=5).map(without_conflicts)
histories = st.lists(turning, min_size=3, max_size=6)
"""The files of a base, of one to four commits, and those that are left."""


def test_any_tree_is_pushed_on_any_other(
    shell: Backend, git_server: GitServer, runs_all: bool
) -> None:
    @generated(10 if runs_all else 3)
    @given(before=trees, between=trees, after=trees)
    def is_pushed(before: Tree, between: Tree, after: Tree) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            check_push(shell, git_server, Path(temporary), [before, between, after])

    is_pushed()


def test_files_links_and_folders_that_become_one_another_are_pushed(
    shell: Backend, git_server: GitServer, runs_all: bool
) -> None:
    @generated(3 if runs_all else 1)
    @given(several=st.lists(histories, min_size=6, max_size=6))
    def are_pushed(several: list[list[Tree]]) -> None:
        steps = [together(list(trees)) for trees in zip_longest(*several, fillvalue={})]
        with tempfile.TemporaryDirectory() as temporary:
            check_push(shell, git_server, Path(temporary), steps)

    are_pushed()


def check_push(shell: Backend, git_server: GitServer, folder: Path, steps: list[Tree]) -> None:
    """Check the push of a task that turns the first tree into the others, commit by commit."""
    repository = Repository(folder / "repository")
    repository.commit(unpacking(steps[0]))
    url = publish(git_server, repository, "generated")
    commit = "git add -A; git commit -qm Step\n"
    task = shell.complete(commit.join(map(unpacking, steps[1:])), repository)
    if not task["git_patch"]:
        return
    request = request_of(url, task)
    push(folder, request)
    assert tree_on(git_server, "generated", request.branch) == request.tree_hash
    git(git_server.bare("generated"), "fsck", "--strict", "--no-dangling")
