"""Tests of repositories with Git LFS, whose files are pointers for a git without its filter."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.support.backends import Backend, Repository, Row
from tests.support.git.exactness import check_exact, tree_left_by

CONTENT = "content of the storage\n" * 100
POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    f"oid sha256:{hashlib.sha256(CONTENT.encode()).hexdigest()}\nsize {len(CONTENT)}\n"
)
PULL = (
    "for f in a.bin 'deep/b c.bin'; do for i in $(seq 100); do "
    "echo 'content of the storage'; done >\"$f\"; done\n"
)
LARGE = "seq 3000000"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Provide a repository with two pointers of the same content, and one of 22 MB."""
    content = "".join(f"{number}\n" for number in range(1, 3_000_001)).encode()
    large = POINTER.splitlines()[0] + (
        f"\noid sha256:{hashlib.sha256(content).hexdigest()}\nsize {len(content)}\n"
    )
    repository = Repository(tmp_path_factory.mktemp("lfs") / "repository")
    (repository.folder / "deep").mkdir()
    for name, text in (("a.bin", POINTER), ("deep/b c.bin", POINTER), ("large.bin", large)):
        (repository.folder / name).write_text(text)
    repository.commit("echo '*.bin filter=lfs diff=lfs merge=lfs -text' >.gitattributes; echo x >x")
    return repository


def notes(task: Row) -> list[str]:
    """Return the notes of a task."""
    return list(task["execution_metadata"]["notes"])


@pytest.mark.cloud_with_all("the script is the same")
@pytest.mark.parametrize("more", ["", "git add --all", "mkdir .git/lfs; rm .git/index"])
def test_files_that_their_pointers_stand_for_are_unchanged(
    shell: Backend, stored: Repository, tmp_path: Path, more: str
) -> None:
    task = shell.complete(f"{PULL}{LARGE} >large.bin; echo y >>x\n{more}", stored)
    assert notes(task) == []
    check_exact(shell, task, stored, tree_left_by(stored, "echo y >>x", tmp_path / "x"), tmp_path)


@pytest.mark.local_only("nothing in it depends on the place")
def test_changed_content_of_the_storage_gets_a_note(
    shell: Backend, stored: Repository, tmp_path: Path
) -> None:
    script = f"{PULL}echo more >>a.bin; echo new >new.bin; echo y >>x"
    task = shell.complete(script, stored)
    [note] = notes(task)
    assert "Git LFS: a.bin, new.bin. " in note
    assert task["changed_files"] == ["a.bin", "new.bin", "x"]


@pytest.mark.local_only("nothing in it depends on the place")
def test_large_changed_content_is_left_out(shell: Backend, stored: Repository) -> None:
    task = shell.complete("seq 3000001 >large.bin; echo y >>x", stored)
    [note] = notes(task)
    assert "MAX_NEW_FILE_BYTES (10000000): large.bin. " in note
    assert task["changed_files"] == ["x"]


@pytest.mark.local_only("nothing in it depends on the place")
def test_pointers_are_recognized_without_attributes(shell: Backend, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    for name in ("a.bin", "b.bin", "c.bin"):
        (repository.folder / name).write_text(POINTER)
    repository.commit("echo x >x")
    pull = PULL.replace("deep/b c.bin", "b.bin")
    task = shell.complete(f"{pull}echo y >>x; echo more >>b.bin; rm c.bin", repository)
    assert task["changed_files"] == ["b.bin", "c.bin", "x"]
    assert "Git LFS: b.bin. " in notes(task)[0]
