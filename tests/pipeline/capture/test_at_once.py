"""Tests that an edit within the second of the clone is found although git compares seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.backends import Backend, Repository
from tests.support.git.exactness import check_exact, tree_left_by
from tests.support.suite.exhaustive import sampled

# Enough files for the capture to search for changes before git does.
FILES = "mkdir a b; for i in $(seq 150); do echo a$i >a/$i; echo b$i >b/$i; ln -s a$i b/l$i; done"

REPLACE = "printf X | dd of=$f bs=1 conv=notrunc 2>/dev/null"
EDITS = {
    "of the same size": f"for f in a/1 a/77 b/150; do {REPLACE}; done",
    "of the same size with the old time": "for f in a/1 a/77 b/150; do cp -p $f ../kept; "
    f"{REPLACE}; touch -r ../kept $f; done",
    "by a file of the same size and time": "for f in a/1 b/150; do sed s/./X/ $f >../new; "
    "touch -r $f ../new; mv ../new $f; done",
    "of a link": "ln -sfn x9 b/l9",
    "of a mode": "chmod +x a/5",
    "by a folder of the same files": "mv a c; mv b a; mv c b",
    "by another name of the file": f"f=../other; ln a/3 ../other; {REPLACE}; rm ../other",
    "that adds and removes": "echo x >x; rm a/1; mkdir n; echo y >n/y",
    "with an index of its own": f"f=a/3; {REPLACE}; git add -A; f=b/3; {REPLACE}",
    "that git was told not to see": f"git update-index --assume-unchanged a/3; f=a/3; {REPLACE}",
    # The edit is at the beginning of a second, the capture in the next one.
    "that git was told not to see and forgot": "left=$((2000000000 - $(date +1%N))); "
    "sleep $((left / 1000000000)).$(printf %09d $((left % 1000000000))); "
    "touch a/3; git update-index --refresh; git update-index --assume-unchanged a/3; f=a/3; "
    f"{REPLACE}; sleep 1",
    "of a file that is then locked": f"f=a/3; {REPLACE}; chmod 0 a/3",
    "in a folder that is then locked": f"f=a/3; {REPLACE}; chmod 0 a",
    "that keeps the name of an option": "echo x >-h; echo y >'-t 1'; echo z >'a/ new'",
}

OF_A_KIND = {
    *("of the same size", "of a link", "by a folder of the same files"),
    *("that adds and removes", "in a folder that is then locked"),
}
"""Edits that are found in the same way as others."""


@pytest.fixture(scope="module")
def many_files(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Provide a repository with several hundred small files."""
    repository = Repository(tmp_path_factory.mktemp("many") / "repository")
    repository.commit(FILES)
    return repository


@pytest.mark.cloud_sample({"of the same size with the old time"})
@pytest.mark.parametrize(
    "case", sampled(EDITS, EDITS.keys() - OF_A_KIND, "others are of the same kind")
)
def test_an_edit_right_after_the_clone_is_seen(
    shell: Backend, many_files: Repository, tmp_path: Path, case: str
) -> None:
    task = shell.complete(EDITS[case], many_files)
    assert task["changed_files"]
    expected = tree_left_by(many_files, EDITS[case], tmp_path / "expected")
    check_exact(shell, task, many_files, expected, tmp_path)


@pytest.mark.cloud_with_all("the capture is the same")
def test_with_a_generated_folder_changed_files_keep_their_times(
    shell: Backend, many_files: Repository
) -> None:
    edit = "echo new >a/3; mkdir node_modules; echo made >node_modules/part"
    check = "find a/3 -newermt 2000-01-01 | grep a/3"
    task = shell.complete(edit, many_files, check_command=check)
    assert task["execution_metadata"]["check"]["exit_code"] == 0
