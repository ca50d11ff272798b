"""Tests that a nested repository is captured as files unless its path is that of a submodule."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.backends import Backend, Repository, git, run
from tests.support.git.exactness import check_exact, tree_left_by

pytestmark = pytest.mark.cloud_with_all(
    "the script is the same, and test_changes has a sample in the cloud"
)

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


MONITOR = "config core.fsmonitor 'touch MARK; false'"


@pytest.mark.parametrize("staged", [False, True])
def test_a_nested_repository_runs_no_program_that_its_configuration_names(
    shell: Backend, sample: Repository, tmp_path: Path, *, staged: bool
) -> None:
    script = set_paths("sub", "") + MAKE + f"git -C sub {MONITOR}; git add --all" * staged
    task = shell.complete(script.replace("MARK", str(tmp_path / "mark")), sample)
    assert not (tmp_path / "mark").exists()
    assert task["changed_files"] == ["sub/x"]


@pytest.fixture(scope="module")
def with_submodule(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Provide a repository with a submodule."""
    repository = Repository(tmp_path_factory.mktemp("submodule") / "repository")
    repository.commit(set_paths("sub", "sub") + REGISTER + MAKE)
    return repository


CHANGED = {
    "a file that was edited": "echo y >>sub/x",
    "a new file": "echo y >sub/y",
    "a commit": "cd sub; echo y >>x; git commit -qam y",
    "a branch without a commit": "git -C sub switch -q --orphan new; echo y >sub/y",
}


FETCHES = pytest.mark.not_isolated("the agent reads a repository beside its sandbox")


@pytest.mark.local_only("the folder of the repository is on this machine")
class TestSubmodules:
    """A submodule that the agent fetched, or wrote to."""

    def fetch(self, repository: Repository) -> str:
        return f"rmdir sub; git clone -q {repository.folder}/sub sub\n"

    @FETCHES
    @pytest.mark.parametrize("case", CHANGED)
    def test_changes_in_it_are_told(
        self, shell: Backend, with_submodule: Repository, case: str
    ) -> None:
        script = self.fetch(with_submodule) + CHANGED[case]
        task = shell.complete(f"({script}); echo a >a", with_submodule)
        [note] = task["execution_metadata"]["notes"]
        assert note.startswith("Changes inside of submodules are not part of the result: sub. ")
        assert task["changed_files"] == (["a", "sub"] if case == "a commit" else ["a"])

    def test_files_in_one_that_was_not_fetched_are_told(
        self, shell: Backend, with_submodule: Repository
    ) -> None:
        task = shell.complete("echo y >sub/y; echo a >a", with_submodule)
        [note] = task["execution_metadata"]["notes"]
        assert "submodules are not part of the result: sub. " in note
        assert task["changed_files"] == ["a"]

    @FETCHES
    def test_one_without_changes_is_not_told_and_runs_no_program(
        self, shell: Backend, with_submodule: Repository, tmp_path: Path
    ) -> None:
        script = self.fetch(with_submodule) + f"git -C sub {MONITOR}; echo a >a; "
        script += "mkdir -p sub/node_modules; echo node_modules >>sub/.git/info/exclude"
        task = shell.complete(script.replace("MARK", str(tmp_path / "mark")), with_submodule)
        assert not (tmp_path / "mark").exists()
        assert task["execution_metadata"]["notes"] == []
        assert task["changed_files"] == ["a"]

    @FETCHES
    def test_one_that_becomes_files_comes_as_files(
        self, shell: Backend, with_submodule: Repository
    ) -> None:
        script = self.fetch(with_submodule) + "git rm -q --cached sub .gitmodules; rm .gitmodules; "
        script += "rm -rf sub/.git; git add sub"
        task = shell.complete(script, with_submodule)
        assert task["changed_files"] == [".gitmodules", "sub", "sub/x"]
