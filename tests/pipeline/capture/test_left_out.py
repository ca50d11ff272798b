"""Tests that files which git or a host refuses do not affect the other changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.backends import Backend, Repository, Row
from tests.support.git.exactness import check_exact, tree_left_by

pytestmark = pytest.mark.cloud_with_all(
    "the script is the same, and test_changes has a sample in the cloud"
)

WORK = "echo new >new; printf 'more\\n' >>src/app.py; rm README.md\n"
INVISIBLE = "\"$(printf '.g\\342\\200\\214it')\""

REFUSED = {
    "a folder like git's own": ("mkdir -p .GIT/b; echo x >.GIT/a; echo x >.GIT/b/c", ".GIT/"),
    "a name for git's own on Windows": ("echo x >docs/git~1", "docs/git~1"),
    "git's own with an end that Windows drops": ("echo x >'.git. '", ".git. "),
    "git's own behind a backslash": ("echo x >'a\\.git'", '"a\\\\.git"'),
    "git's own with what nobody sees": (f"echo x >{INVISIBLE}", '".g\\342\\200\\214it"'),
    "the same, which the agent wanted to commit": (
        f"echo x >{INVISIBLE}; git add --all || git commit -qam A",
        '".g\\342\\200\\214it"',
    ),
    "a list of submodules that is a link": ("ln -s README.md .gitmodules", ".gitmodules"),
    "the same on Windows": ("ln -s README.md gitmod~1", "gitmod~1"),
}


def note(task: Row) -> str:
    """Return the only note of a task."""
    (text,) = task["execution_metadata"]["notes"]
    assert text.startswith("Left out: ")
    assert "Have the agent rename it" in text
    return str(text).removeprefix("Left out: ").split(". Either git")[0]


@pytest.mark.cloud_sample({"a folder like git's own", "git's own with what nobody sees"})
@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_name_is_told_and_everything_else_is_kept(
    shell: Backend, sample: Repository, tmp_path: Path, case: str
) -> None:
    script, name = REFUSED[case]
    task = shell.complete(WORK + script, sample)
    assert note(task) == name
    check_exact(shell, task, sample, tree_left_by(sample, WORK, tmp_path / "x"), tmp_path)


def test_of_many_refused_names_a_few_are_told_and_how_many_more(
    shell: Backend, sample: Repository, tmp_path: Path
) -> None:
    script = "for i in 1 2 3 4 5; do mkdir n$i; echo x >n$i/git~1; echo y >n$i/y; done\n"
    # A refused name must not fail the capture of a repository that is unusual in other ways.
    script += "git update-index --assume-unchanged docs/notes.txt; echo a >>docs/notes.txt\n"
    script += "git init -q empty\n"
    task = shell.complete(WORK + script, sample)
    assert note(task) == "n1/git~1, n2/git~1, n3/git~1 and 2 more"
    expected = tree_left_by(sample, f"{WORK}{script}rm -r */git~1 empty", tmp_path / "x")
    check_exact(shell, task, sample, expected, tmp_path)


def test_attributes_stay_in_force_beside_a_refused_name(
    shell: Backend, sample: Repository, tmp_path: Path
) -> None:
    script = f"{WORK}echo '*.md text' >.gitattributes; printf 'a\\r\\n' >a.md\n"
    task = shell.complete(f"{script}echo x >git~1", sample)
    assert note(task) == "git~1"
    check_exact(shell, task, sample, tree_left_by(sample, script, tmp_path / "x"), tmp_path)


@pytest.mark.parametrize(
    "script",
    [
        "echo '*.md text' >.gitattributes; printf 'a\\r\\n' | tee a.md b.md",
        "echo '* working-tree-encoding=UTF-16' >.gitattributes; echo a >a",
        "git init -q nested; echo a >nested/a; git -C nested add .; git -C nested commit -qm a",
    ],
)
def test_what_git_only_warns_of_is_not_left_out(
    shell: Backend, sample: Repository, script: str
) -> None:
    assert shell.complete(script, sample)["execution_metadata"]["notes"] == []


def test_a_refused_name_costs_nothing_beside_attributes_that_do_not_fit(
    shell: Backend, sample: Repository
) -> None:
    encoding = "echo '* working-tree-encoding=UTF-16' >.gitattributes; echo a >a; echo x >git~1"
    task = shell.complete(encoding, sample)
    assert (task["changed_files"], note(task)) == ([".gitattributes", "a"], "git~1")


@pytest.mark.parametrize("committed", [False, True])
def test_a_list_of_submodules_that_becomes_a_link_stays_as_it_was(
    shell: Backend, tmp_path: Path, committed: bool
) -> None:
    repository = Repository(tmp_path / "repository")
    repository.commit("echo '[submodule]' >.gitmodules; echo x >README.md")
    script = "rm .gitmodules; ln -s README.md .gitmodules; echo a >a"
    task = shell.complete(script + "; git add .; git commit -qm A" * committed, repository)
    assert note(task) == ".gitmodules"
    check_exact(
        shell, task, repository, tree_left_by(repository, "echo a >a", tmp_path / "x"), tmp_path
    )


def test_a_list_of_submodules_that_the_agent_made_and_then_linked_is_left_out(
    shell: Backend, sample: Repository
) -> None:
    script = ": >.gitmodules; git add .; ln -sf README.md .gitmodules; echo a >a"
    task = shell.complete(script, sample)
    assert (task["changed_files"], note(task)) == (["a"], ".gitmodules")


def test_a_folder_too_deep_to_be_read_is_told(shell: Backend, sample: Repository) -> None:
    # Longer than any path that one system call accepts.
    deep = "/".join("n" * 200 for _ in range(15))
    script = f"mkdir -p {deep} m/{deep}; echo x >m/{deep}/x; mv m/* {deep}/m; rmdir m"
    task = shell.complete(f"{script}; echo a >a", sample)
    assert (task["changed_files"], note(task)) == (["a"], "n" * 200)


def test_when_everything_is_refused_the_note_says_it(shell: Backend, sample: Repository) -> None:
    task = shell.complete("echo x >git~1", sample)
    assert (task["changed_files"], note(task)) == ([], "git~1")
    assert task["commit_hash"] == sample.head


def test_files_in_place_of_the_folders_for_new_objects_cost_nothing(
    shell: Backend, sample: Repository, tmp_path: Path
) -> None:
    script = "git gc -q; cd .git/objects; for a in 0 1 2 3 4 5 6 7 8 9 a b c d e f; do\n"
    script += "for b in 0 1 2 3 4 5 6 7 8 9 a b c d e f; do : >$a$b; done; done; cd ../..\n"
    task = shell.complete(script + WORK, sample)
    check_exact(shell, task, sample, tree_left_by(sample, WORK, tmp_path / "x"), tmp_path)
