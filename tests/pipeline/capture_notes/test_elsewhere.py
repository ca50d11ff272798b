"""Tests that work which is not at HEAD when the agent ends is taken, or named in a note."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.backends import Backend, Repository, Row, git, run
from tests.support.git.exactness import check_exact, tree_left_by

# Conflict markers contain the name of the commit, which depends on these values.
FIXED = (
    "export GIT_AUTHOR_DATE=@1000000000 GIT_COMMITTER_DATE=@1000000000 GIT_AUTHOR_NAME=a "
    "GIT_AUTHOR_EMAIL=a GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a"
)
COMMIT = "git add --all && git commit --quiet -m"
ON_BRANCH = f"git switch -qc feature/x && echo a >a && {COMMIT} A && "
BACK = "git switch -q main"
CLOUD_SAMPLE = {"one branch", "a branch beside changes"}

TAKEN = {
    "one branch": (f"{ON_BRANCH}{BACK}", "feature/x"),
    "a branch of several commits": (
        f"{ON_BRANCH}rm README.md && {COMMIT} B && {BACK}",
        "feature/x",
    ),
    "a branch and its beginning": (
        f"{ON_BRANCH}git branch early && echo b >b && {COMMIT} B && {BACK}",
        "feature/x",
    ),
    "packed references": (f"{ON_BRANCH}{BACK} && git pack-refs --all", "feature/x"),
    "a merge": (
        f"{ON_BRANCH}git switch -qc side main && echo s >s && {COMMIT} S && "
        f"git switch -q feature/x && git merge -q --no-edit side && {BACK}",
        "feature/x",
    ),
    "a branch in a linked worktree": (
        "git worktree add -q ../elsewhere -b feature/x && cd ../elsewhere && echo a >a && "
        f"{COMMIT} A",
        "feature/x",
    ),
    "a head of its own": (f"{ON_BRANCH}git checkout -q --detach main", "feature/x"),
    "a damaged index": (f"{ON_BRANCH}{BACK} && echo damaged >.git/index", "feature/x"),
    "a branch with a generated folder beside it": (
        f"{ON_BRANCH}{BACK} && mkdir node_modules && echo x >node_modules/x",
        "feature/x",
    ),
}
NAMED = {
    "a branch beside changes": (f"{ON_BRANCH}{BACK}; echo b >b", "feature/x (1 commit)"),
    "a branch beside commits": (
        f"{ON_BRANCH}{BACK}; echo b >b; {COMMIT} B; echo c >c",
        "feature/x (1 commit)",
    ),
    "two branches": (
        f"{ON_BRANCH}git switch -qc other main && echo o >o && {COMMIT} O && {BACK}",
        "feature/x (1 commit), other (1 commit)",
    ),
    "a branch of several commits": (
        f"{ON_BRANCH}echo b >b; {COMMIT} B; {BACK}; echo c >c",
        "feature/x (2 commits)",
    ),
    "an old branch": (
        f"git switch -qc old HEAD~1; echo a >a; {COMMIT} A; {BACK}; echo b >b",
        "old (1 commit)",
    ),
    "stashed changes": ("echo a >>README.md; git stash -q; echo b >b", "stashed"),
    "a tag": (
        f"git checkout -q --detach; echo a >a; {COMMIT} A; git tag v1; {BACK}; echo b >b",
        "refs/tags/v1 (1 commit)",
    ),
    "a commit that a checkout left": (
        f"git checkout -q --detach; echo a >a; {COMMIT} A; {BACK}; echo b >b",
        "no branch contains any more",
    ),
    "a commit that a reset left": (
        f"echo a >a; {COMMIT} A; git reset -q --hard HEAD~1; echo b >b",
        "no branch contains any more",
    ),
    "a branch that was deleted": (
        f"{ON_BRANCH}{BACK}; git branch -qD feature/x; echo b >b",
        "no branch contains any more",
    ),
    "a rebase that did not end": (
        f"{FIXED}; {ON_BRANCH}echo x >README.md; {COMMIT} B; {BACK}; echo y >README.md; "
        f"{COMMIT} C; git switch -q feature/x; git rebase -q main; :",
        "feature/x (2 commits)",
    ),
}
QUIET = {
    "a branch that was merged": f"{ON_BRANCH}{BACK}; git merge -q feature/x; echo b >b",
    "a commit that was amended": f"echo a >a; {COMMIT} A; echo b >b; git add b; "
    "git commit -q --amend -m B",
    "commits that became one": f"{ON_BRANCH}echo b >b; {COMMIT} B; {BACK}; "
    "git merge -q --squash feature/x; git commit -qm One; git branch -qD feature/x",
    "commits that became one by a reset": f"echo a >a; {COMMIT} A; echo b >b; {COMMIT} B; "
    f"git reset -q --soft HEAD~2; {COMMIT} One",
    "a branch at the base": "git branch other; echo b >b",
    "a stash that was applied": "echo a >>README.md; git stash -q; git stash pop -q",
}


def notes(task: Row) -> list[str]:
    """Return the notes of a task."""
    return list(task["execution_metadata"]["notes"])


@pytest.mark.cloud_sample(CLOUD_SAMPLE)
@pytest.mark.parametrize("case", TAKEN)
def test_the_one_branch_that_is_ahead_is_the_result(
    shell: Backend, sample: Repository, tmp_path: Path, case: str
) -> None:
    script, branch = TAKEN[case]
    task = shell.complete(script, sample)
    assert any(f"on another branch, {branch}. " in note for note in notes(task))
    worked = sample.clone(tmp_path / "worked" / "repository")
    run(["sh", "-c", script], worked)
    expected = git(worked, "rev-parse", branch + "^{tree}")
    check_exact(shell, task, sample, expected, tmp_path)


@pytest.mark.cloud_sample(CLOUD_SAMPLE)
@pytest.mark.parametrize("case", NAMED)
def test_work_that_was_not_taken_is_named(
    shell: Backend, sample: Repository, tmp_path: Path, case: str
) -> None:
    script, words = NAMED[case]
    task = shell.complete(script, sample)
    assert words in "\n".join(notes(task))
    if task["git_patch"]:
        expected = tree_left_by(sample, script, tmp_path / "x")
        check_exact(shell, task, sample, expected, tmp_path)


@pytest.mark.cloud_sample(set())
@pytest.mark.parametrize("case", QUIET)
def test_work_that_is_in_the_result_is_not_named(
    shell: Backend, sample: Repository, tmp_path: Path, case: str
) -> None:
    task = shell.complete(QUIET[case], sample)
    assert notes(task) == []
    check_exact(shell, task, sample, tree_left_by(sample, QUIET[case], tmp_path / "x"), tmp_path)


WORKTREE = "git worktree add -q .claude/worktrees/a -b side; echo new >.claude/worktrees/a/new; "


@pytest.mark.cloud_sample({"committed"})
@pytest.mark.parametrize(
    ("case", "note"),
    [
        ("committed", ".claude/worktrees/a (branch side)"),
        ("uncommitted", ".claude/worktrees/a (branch side)"),
        ("detached", ".claude/worktrees/a (commit "),
        ("staged", ".claude/worktrees/a (branch side)"),
        ("pruned", ".claude/worktrees/a. "),
        ("elsewhere in the tree", "deep/er (branch side)"),
    ],
)
def test_a_linked_worktree_is_not_part_of_the_result(
    shell: Backend, sample: Repository, tmp_path: Path, case: str, note: str
) -> None:
    more = {
        "committed": f"(cd .claude/worktrees/a; {COMMIT} New)",
        "uncommitted": ":",
        "detached": "git -C .claude/worktrees/a checkout -q --detach",
        "staged": f"(cd .claude/worktrees/a; {COMMIT} New); git add --all",
        "pruned": "rm -rf .git/worktrees",
        "elsewhere in the tree": "mkdir deep; git worktree move .claude/worktrees/a deep/er",
    }
    task = shell.complete(f"{WORKTREE}{more[case]}; echo b >b", sample)
    assert task["changed_files"] == ["b"]
    assert any(f"Linked worktrees are not part of the result: {note}" in one for one in notes(task))
    if case in {"committed", "staged"}:
        assert any("branch side (1 commit)" in one for one in notes(task))
    check_exact(shell, task, sample, tree_left_by(sample, "echo b >b", tmp_path / "x"), tmp_path)
