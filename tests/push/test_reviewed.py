"""Only what the stored diff shows is pushed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.backends import Repository, git
from tests.support.git.pushes import Target
from utils.errors import PushRefused

DIFF = ("diff", "--binary", "--full-index", "--find-renames")


@pytest.fixture
def diff(push_target: Target, push_origin: Repository) -> str:
    """Provide the diff of the result, as the capture stores it."""
    request = push_target.request
    found = git(push_origin.folder, *DIFF, request.base_commit, request.tree_hash)
    return f"{found}\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda diff: diff.replace("+more", "+less"),
        lambda diff: diff.replace("new mode 100755", "new mode 100644").replace("100755", "100644"),
        lambda diff: diff[: diff.rindex("diff --git ")],
        # The end of the patch, behind the blank line of a binary file.
        lambda diff: diff[diff.index("\n\ndiff --git ") + 2 :],
        lambda diff: diff + "diff --git a/new b/new\nnew file mode 100644\n",
        lambda diff: diff.replace(" one\n", " other\n"),
        lambda diff: diff.replace("rename to b/three", "rename to b/four"),
        lambda _: "no diff at all\n",
    ],
)
def test_another_diff_than_the_patch_is_not_pushed(
    push_target: Target, diff: str, change: object
) -> None:
    assert callable(change)
    shown = change(diff)
    assert shown != diff
    with pytest.raises(PushRefused) as raised:
        push_target.push(replace(push_target.request, diff=shown))
    assert raised.value.code == "tree_mismatch"
    assert push_target.request.branch not in git(push_target.bare, "branch", "--list")


def test_the_diff_of_the_result_is_pushed(push_target: Target, diff: str) -> None:
    push_target.push(replace(push_target.request, diff=diff))
    assert push_target.tree == push_target.request.tree_hash


def test_the_diff_may_be_written_in_another_way(
    push_target: Target, push_origin: Repository
) -> None:
    request = push_target.request
    options = ("--binary", "--full-index", "--no-renames", "--patience", "--unified=9")
    shown = git(push_origin.folder, "diff", *options, request.base_commit, request.tree_hash)
    push_target.push(replace(request, diff=f"{shown}\n"))
    assert push_target.tree == request.tree_hash
