"""A changed image is written whole into the diff, which stays exact in both directions."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from tests.support.backends import Repository, git
from utils.git.whole_images import with_whole_images

RANDOM = random.Random(7)
# All lengths of a last line, and contents that git would rather write as a difference.
LENGTHS = (*range(3_000, 3_053), 100_000)
AMPLE_BYTES = 10_000_000


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Provide a repository whose images, and one other binary file, were edited."""
    repository = Repository(tmp_path_factory.mktemp("edited") / "origin")
    names = [f"größe {length}.PNG" for length in LENGTHS] + ["other.bin"]
    contents = {
        name: RANDOM.randbytes(LENGTHS[place % len(LENGTHS)]) for place, name in enumerate(names)
    }
    for name, content in contents.items():
        (repository.folder / name).write_bytes(content)
    repository.commit("echo one >text")
    for name, content in contents.items():
        (repository.folder / name).write_bytes(b"new" + content[:-1])
    repository.run("echo two >text; git add --all")
    return repository


def output(repository: Repository, *arguments: str) -> bytes:
    command = ["git", "-C", str(repository.folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout


def test_the_diff_with_whole_images_applies_forwards_and_backwards(
    edited: Repository, tmp_path: Path
) -> None:
    diff = output(edited, "diff", "--cached", "--binary", "--full-index")
    assert diff.count(b"\ndelta ") == 2 * (len(LENGTHS) + 1)
    whole = with_whole_images(
        diff, lambda name: output(edited, "cat-file", "blob", name), AMPLE_BYTES
    )
    assert whole.count(b"\nliteral ") == len(LENGTHS)
    (tmp_path / "whole.diff").write_bytes(whole)
    clone = tmp_path / "clone"
    git(edited.folder, "clone", "--quiet", ".", str(clone))
    base = git(clone, "write-tree")
    git(clone, "apply", "--index", str(tmp_path / "whole.diff"))
    assert git(clone, "write-tree") == git(edited.folder, "write-tree")
    git(clone, "apply", "--index", "--reverse", str(tmp_path / "whole.diff"))
    assert git(clone, "write-tree") == base


def test_what_is_unknown_or_too_large_stays_a_difference(edited: Repository) -> None:
    diff = output(edited, "diff", "--cached", "--binary", "--full-index")
    assert with_whole_images(diff, lambda _: None, AMPLE_BYTES) == diff
    assert with_whole_images(diff, lambda _: b"x" * 3_000_000, AMPLE_BYTES) == diff
    most = len(diff) + 10_000
    limited = with_whole_images(diff, lambda name: output(edited, "cat-file", "blob", name), most)
    assert len(diff) < len(limited) <= most
