"""A push that happened is recognised, and nobody else's work is overwritten."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.backends import git
from tests.support.git.pushes import AGENT, FINISHED_AT, PERSON, Target, push
from utils.errors import BranchChanged, InvalidBranch, PushRefused
from utils.push.commit import CommitText, Identity

OTHER_TEXT = CommitText("fix: other words", AGENT, PERSON, FINISHED_AT)
OTHER_LINES = "diff --git a/a/one b/a/one\n--- a/a/one\n+++ b/a/one\n@@ -1 +1 @@\n-no\n+yes\n"
OTHER_FILE = "diff --git a/none b/none\nold mode 100644\nnew mode 100755\n"

# Lets no push through before so many have come, or very long after.
ALL_HERE = """#!/bin/sh
echo >>'{arrived}'
turns=0
until [ $(wc -l <'{arrived}') -ge {count} ] || [ $turns = 3000 ]; do
    sleep 0.01
    turns=$((turns + 1))
done
"""


def pushes_to(target: Target) -> int:
    return sum(path.endswith("/git-receive-pack") for _, path, _ in target.asked)


def foreign_commit(target: Target) -> str:
    """Put a commit of someone else on the server, on a branch called `foreign`; return it."""
    foreign = git(target.bare, "commit-tree", "main^{tree}", "-p", "main", "-m", "Foreign")
    git(target.bare, "update-ref", "refs/heads/foreign", foreign)
    return foreign


def test_a_second_call_pushes_and_fetches_nothing(push_target: Target) -> None:
    first = push_target.push()
    pushes, objects = pushes_to(push_target), push_target.server.sent_objects
    for known in (first.commit, None):
        again = push_target.push(replace(push_target.request, expected_remote=known))
        assert again == replace(first, was_there=True, objects_fetched=0)
    assert (pushes_to(push_target), push_target.server.sent_objects) == (pushes, objects)


def test_the_commit_says_who_wrote_it_who_pushed_it_and_when(push_target: Target) -> None:
    odd = Identity("  <A>\nB\0 , Ω.", "a<@>example\n.org")
    text = CommitText("Title \r\n\r\nBody\t\r\n# more\x00\n\n\n", odd, PERSON, FINISHED_AT)
    push_target.push(replace(push_target.request, text=text))
    commit = git(push_target.bare, "cat-file", "commit", f"refs/heads/{push_target.request.branch}")
    when = f"{int(FINISHED_AT.timestamp())} +0000"
    assert commit.splitlines()[1:] == [
        f"parent {push_target.request.base_commit}",
        f"author A B , Ω <a@example .org> {when}",
        f"committer Person <person@example.org> {when}",
        "",
        "Title",
        "",
        "Body",
        "# more",
    ]


def test_a_new_message_replaces_what_we_pushed(push_target: Target) -> None:
    first = push_target.push()
    changed = replace(push_target.request, text=OTHER_TEXT, expected_remote=first.commit)
    second = push_target.push(changed)
    assert not second.was_there
    assert push_target.head == second.commit != first.commit
    assert push_target.tree == push_target.request.tree_hash


def test_a_branch_that_was_deleted_is_made_again(push_target: Target) -> None:
    first = push_target.push()
    git(push_target.bare, "update-ref", "-d", f"refs/heads/{push_target.request.branch}")
    again = push_target.push(replace(push_target.request, expected_remote=first.commit))
    assert (again.commit, again.was_there) == (first.commit, False)


@pytest.mark.parametrize("pushed_before", [False, True])
def test_what_someone_else_pushed_is_left_as_it_is(
    push_target: Target, pushed_before: bool
) -> None:
    expected = push_target.push().commit if pushed_before else None
    foreign = foreign_commit(push_target)
    git(push_target.bare, "update-ref", f"refs/heads/{push_target.request.branch}", foreign)
    with pytest.raises(BranchChanged) as raised:
        push_target.push(replace(push_target.request, text=OTHER_TEXT, expected_remote=expected))
    assert raised.value.remote_commit == foreign
    assert (raised.value.code, raised.value.http_status) == ("branch_changed", 409)
    assert foreign in raised.value.message
    assert push_target.head == foreign


@pytest.mark.parametrize("pushed_before", [False, True])
def test_someone_who_pushes_after_the_branch_was_read_wins(
    push_target: Target, pushed_before: bool
) -> None:
    expected = push_target.push().commit if pushed_before else None
    foreign = foreign_commit(push_target)
    reference = f"refs/heads/{push_target.request.branch}"
    push_target.server.before_push[push_target.name] = lambda: git(
        push_target.bare, "update-ref", reference, foreign
    )
    with pytest.raises(BranchChanged) as raised:
        push_target.push(replace(push_target.request, text=OTHER_TEXT, expected_remote=expected))
    assert raised.value.remote_commit == foreign == push_target.head


def test_someone_who_pushes_at_the_last_moment_wins(push_target: Target) -> None:
    foreign = foreign_commit(push_target)
    # The hook runs when the lease was checked by the client, as another push might come then.
    push_target.add_hook(
        "pre-receive",
        "#!/bin/sh\nunset GIT_QUARANTINE_PATH\n"
        f"git update-ref refs/heads/{push_target.request.branch} {foreign}\n",
    )
    with pytest.raises(BranchChanged) as raised:
        push_target.push()
    assert raised.value.remote_commit == foreign == push_target.head


def test_calls_at_the_same_time_make_one_commit(push_target: Target, tmp_path: Path) -> None:
    push_target.add_hook("pre-receive", ALL_HERE.format(arrived=tmp_path / "arrived", count=4))

    def call(number: int) -> str:
        return push(tmp_path / str(number), push_target.request).commit

    with ThreadPoolExecutor(4) as threads:
        commits = set(threads.map(call, range(4)))
    assert commits == {push_target.head}
    assert pushes_to(push_target) == 4


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"tree_hash": "1" * 40}, "tree_mismatch"),
        ({"base_commit": "2" * 40}, "base_commit_gone"),
        ({"patch": OTHER_LINES}, "patch_does_not_apply"),
        ({"patch": OTHER_FILE}, "patch_does_not_apply"),
    ],
)
def test_what_does_not_fit_is_not_pushed(
    push_target: Target, changes: dict[str, Any], code: str
) -> None:
    pushes = pushes_to(push_target)
    with pytest.raises(PushRefused) as raised:
        push_target.push(replace(push_target.request, **changes))
    assert raised.value.code == code
    assert pushes_to(push_target) == pushes


@pytest.mark.parametrize("branch", ["-rf", "a..b", "x y", "a:refs/heads/main", "+main", ""])
def test_a_name_that_is_no_branch_reaches_no_command(push_target: Target, branch: str) -> None:
    before = git(push_target.bare, "for-each-ref")
    if branch == "+main":
        push_target.push(replace(push_target.request, branch=branch))
        assert git(push_target.bare, "rev-parse", "refs/heads/+main")
        return
    with pytest.raises(InvalidBranch):
        push_target.push(replace(push_target.request, branch=branch))
    assert git(push_target.bare, "for-each-ref") == before
