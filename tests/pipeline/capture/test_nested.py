"""Tests that a nested repository is captured as files unless its path is that of a submodule."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.backends import Backend, Repository, git, run
from tests.support.git.exactness import check_exact, tree_left_by

MAKE = 'mkdir -p "$path"; (cd "$path"; git init -q; echo x >x; git add x; git commit -qm x)\n'
REGISTER = 'git config --file .gitmodules "submodule.my lib.path" "$registered"\n'
IGNORED = "printf '*.log\\n' >.gitignore; mkdir 'a*' logs; : >logs/a.log; : >'a*/b.log'"

OTHERS = {
    "that begins with it": ("libs", "libs-extra"),
    "that it matches as a pattern": ("l*", "libs"),
    "that matches it as a pattern": ("libs", "l.*s"),
    "that has it as a line": ("libs", "$(printf 'libs\\nlibs')"),
    "that has it after a blank": ("libs", "my libs"),
}
SUBMODULES = ("my libs", "my/libs", "$(printf 'new\\nline')", "l*[s]", ":(top)")


def set_paths(path: str, registered: str) -> str:
    """Return the lines of a script that name the two paths."""
    return f'path="{path}"; registered="{registered}"\n'


@pytest.mark.cloud_sample({"that it matches as a pattern"})
@pytest.mark.parametrize("case", OTHERS)
def test_next_to_a_submodule_with_a_path(
    shell: Backend, sample: Repository, tmp_path: Path, case: str
) -> None:
    names = set_paths(*OTHERS[case])
    task = shell.complete(names + REGISTER + MAKE, sample)
    files = names + REGISTER + 'mkdir "$path"; echo x >"$path/x"'
    check_exact(shell, task, sample, tree_left_by(sample, files, tmp_path / "x"), tmp_path)


@pytest.mark.parametrize("path", SUBMODULES)
def test_a_submodule_stays_a_reference(
    shell: Backend, sample: Repository, tmp_path: Path, path: str
) -> None:
    # A file that git cannot add makes the capture search for nested repositories.
    script = set_paths(path, path) + REGISTER + MAKE + "git init -q empty\n"
    task = shell.complete(script, sample)
    assert len(task["changed_files"]) == 2
    clone = sample.clone(tmp_path / "clone")
    run(["git", "apply", "--index"], clone, task["git_diff"].encode())
    assert "160000 commit" in git(clone, "ls-tree", "-r", git(clone, "write-tree"))


def test_files_that_are_tracked_although_they_are_ignored_stay(
    shell: Backend, tmp_path: Path
) -> None:
    repository = Repository(tmp_path / "repository")
    repository.commit(f"{IGNORED}; git add --force .")
    script = set_paths("*", "") + MAKE + set_paths("a*", "") + MAKE
    task = shell.complete(script, repository)
    assert task["changed_files"] == ["*/x", "a*/x"]
