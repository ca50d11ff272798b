"""Reads and merges the branches of a bare repository with git."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from tests.support.backends import GIT_ENVIRONMENT, git


def branch_sha(bare: Path, branch: str) -> str | None:
    """Return the commit of a branch, None when there is no such branch."""
    return _tried(bare, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}")


def branches(bare: Path) -> dict[str, str]:
    """Return the commit of each branch."""
    lines = git(bare, "for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/heads")
    return dict(line.rsplit(" ", 1) for line in lines.splitlines())


def has_commit(bare: Path, sha: str) -> bool:
    """Return True when a commit exists."""
    return _tried(bare, "cat-file", "-e", f"{sha}^{{commit}}") is not None


def tree_and_parents(bare: Path, sha: str) -> tuple[str, list[str]]:
    """Return the tree of a commit, and its parents."""
    tree, *parents = git(bare, "log", "-1", "--format=%T %P", sha).split()
    return tree, parents


def commits(bare: Path, base: str, head: str) -> list[str]:
    """Return the commits of the head that the base lacks, oldest first."""
    return git(bare, "rev-list", "--reverse", f"{base}..{head}").split()


def count_commits(bare: Path, base: str, head: str) -> int:
    """Return the number of commits of the head that the base lacks."""
    return int(git(bare, "rev-list", "--count", f"{base}..{head}"))


def changed_lines(bare: Path, base: str, head: str) -> dict[str, int]:
    """Return the names of changed files, with the number of lines in their new versions."""
    names = git(bare, "diff", "--name-only", "--diff-filter=d", f"{base}...{head}").splitlines()
    return {name: len(git(bare, "show", f"{head}:{name}").splitlines()) for name in names}


def have_common_history(bare: Path, base: str, head: str) -> bool:
    """Return True when two commits have a common ancestor."""
    return _tried(bare, "merge-base", base, head) is not None


def merged_tree(bare: Path, base: str, head: str) -> str | None:
    """Return the tree of a merge, None when there are conflicts."""
    return _tried(bare, "merge-tree", "--write-tree", base, head)


def merge(bare: Path, branch: str, head: str, method: str, message: str) -> str | None:
    """Merge into a branch and return its new commit, None when there are conflicts."""
    base = git(bare, "rev-parse", f"refs/heads/{branch}")
    made = _rebased(bare, base, head) if method == "rebase" else None
    if method != "rebase" and (tree := merged_tree(bare, base, head)):
        parents = ["-p", base, *(["-p", head] if method == "merge" else [])]
        made = git(bare, "commit-tree", tree, *parents, stdin=message.encode())
    if made:
        git(bare, "update-ref", f"refs/heads/{branch}", made, base)
    return made


def _rebased(bare: Path, base: str, head: str) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        git(bare, "worktree", "add", "--quiet", "--detach", folder, head)
        done = _tried(Path(folder), "rebase", "--quiet", "--force-rebase", base)
        made = None if done is None else git(Path(folder), "rev-parse", "HEAD")
        git(bare, "worktree", "remove", "--force", folder)
    return made


def _tried(folder: Path, *arguments: str) -> str | None:
    result = subprocess.run(
        ["git", *arguments], cwd=folder, env=GIT_ENVIRONMENT, capture_output=True, check=False
    )
    return result.stdout.decode().strip() if result.returncode == 0 else None
