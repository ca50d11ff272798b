"""Generated trees: from any one to any other, what is pushed is what the sandbox held."""

from __future__ import annotations

import tempfile
from itertools import zip_longest
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.pipeline.capture.test_generated import Tree, entries, trees, unpacking, without_conflicts
from tests.pull_requests.test_generated import together
from tests.support.backends import Backend, Repository, git
from tests.support.git.pushes import publish, push, request_of, tree_on
from tests.support.git.server import GitServer

pytestmark = pytest.mark.local_only("the place of a task is told by its capture's tests")

generated = settings(
    max_examples=10,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)

# So few names that from commit to commit most of them become something else.
few_paths = st.sampled_from([b"d", b"d/x", b"d/x y", b"e ", b"e /x", b"f\n", b"f\n/x"])
turning = st.dictionaries(few_paths, entries, min_size=2, max_size=5).map(without_conflicts)
histories = st.lists(turning, min_size=3, max_size=6)
"""The files of a base, of one to four commits, and those that are left."""


@generated
@given(before=trees, between=trees, after=trees)
def test_any_tree_is_pushed_on_any_other(
    shell: Backend, git_server: GitServer, before: Tree, between: Tree, after: Tree
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        repository = Repository(folder / "repository")
        repository.commit(unpacking(before))
        url = publish(git_server, repository, "generated")
        commit = "git add -A; git commit -qm Between\n"
        task = shell.complete(unpacking(between) + commit + unpacking(after), repository)
        if not task["git_patch"]:
            return
        request = request_of(url, task)
        push(folder, request)
        assert tree_on(git_server, "generated", request.branch) == request.tree_hash
        git(git_server.bare("generated"), "fsck", "--strict", "--no-dangling")


@settings(generated, max_examples=3)
@given(several=st.lists(histories, min_size=6, max_size=6))
def test_files_links_and_folders_that_become_one_another_are_pushed(
    shell: Backend, git_server: GitServer, several: list[list[Tree]]
) -> None:
    steps = [together(list(trees)) for trees in zip_longest(*several, fillvalue={})]
    commit = "git add -A; git commit -qm Step\n"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        repository = Repository(folder / "repository")
        repository.commit(unpacking(steps[0]))
        url = publish(git_server, repository, "turning")
        task = shell.complete(commit.join(map(unpacking, steps[1:])), repository)
        request = request_of(url, task)
        push(folder, request)
        assert tree_on(git_server, "turning", request.branch) == request.tree_hash
