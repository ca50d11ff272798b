"""Generated trees: from any one to any other, what is pushed is what the sandbox held."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.backends import Backend, Repository, git
from tests.branch_pushes import publish, push, request_of, tree_on
from tests.git_server import GitServer
from tests.test_capture_generated import Tree, trees, unpacking

pytest_plugins = ("tests.task_fixtures",)
pytestmark = pytest.mark.local_only("the place of a task is told by its capture's tests")


@settings(
    max_examples=10,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
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
