"""Tests that a capture writes nowhere but into its own folder, wherever the agent's links lead."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.backends import Backend, Repository
from tests.support.git.exactness import check_exact, tree_left_by
from tests.support.suite.exhaustive import sampled

pytestmark = [
    pytest.mark.local_only("what is around a sandbox in the cloud is a machine of its own"),
    pytest.mark.not_isolated("the agent writes beside its sandbox"),
]

WORK = "echo a >a; printf 'caf\\351\\r\\n' >dos; rm README.md\n"
MOVE = "mkdir -p OUTSIDE; mv {0} OUTSIDE/moved; ln -s OUTSIDE/moved {0}"
FILE = "mkdir -p OUTSIDE; echo precious >OUTSIDE/moved; rm -rf {0}; ln -s OUTSIDE/moved {0}"

REFUSED = {
    "the folder of git": MOVE.format(".git"),
    "the objects": MOVE.format(".git/objects"),
    "the repository": "cd ..; mv repository OUTSIDE; ln -s OUTSIDE repository",
}
HARMLESS = {
    "the folder of the result": "mkdir OUTSIDE; rm -rf ../work/result; "
    "ln -s OUTSIDE ../work/result",
    "the list of commits": "mkdir -p OUTSIDE ../work/result; "
    "ln -s OUTSIDE/made ../work/result/made",
    "the configuration": MOVE.format(".git/config"),
    "the configuration, to a file": FILE.format(".git/config"),
    "the head": MOVE.format(".git/HEAD"),
    "the head, to a file": FILE.format(".git/HEAD"),
    "the index": MOVE.format(".git/index"),
    "the index, to a file": FILE.format(".git/index"),
    "the lock of the index": "mkdir OUTSIDE; echo x >OUTSIDE/x; ln -s OUTSIDE/x .git/index.lock",
    "the excluded names": "mkdir -p OUTSIDE .git/info; ln -s OUTSIDE/moved .git/info/exclude",
    "the attributes": "mkdir -p OUTSIDE .git/info; ln -s OUTSIDE/moved .git/info/attributes",
    "the folder of attributes": "mkdir OUTSIDE; rm -rf .git/info; ln -s OUTSIDE .git/info",
    "the references": MOVE.format(".git/refs"),
    "a new folder for objects": "mkdir OUTSIDE; for i in 0 1 2 3 4 5 6 7 8 9 a b c d e f; do "
    "for j in 0 1 2 3 4 5 6 7 8 9 a b c d e f; do [ -e .git/objects/$i$j ] || "
    "ln -s OUTSIDE .git/objects/$i$j; done; done",
    "the attributes of the backend": "mkdir OUTSIDE; ln -s OUTSIDE/moved ../work/attributes.diff; "
    "ln -s OUTSIDE/moved ../work/attributes.patch",
    "a pipe for the head": "mkdir OUTSIDE; rm .git/HEAD; mkfifo .git/HEAD",
    "a pipe for the index": "mkdir OUTSIDE; rm .git/index; mkfifo .git/index",
}

OF_A_KIND = {
    *("the configuration, to a file", "the head, to a file", "the index, to a file"),
    *("the attributes", "the list of commits", "a pipe for the index"),
}
"""Links that are met by the same rule as others."""


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return the modes and contents of all files below a folder."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(folder.rglob("*"))
    }


def with_copy(script: str, outside: Path) -> str:
    """Return a script that also copies what it left outside, to be compared afterwards."""
    return f"{script.replace('OUTSIDE', str(outside))}\ncp -a {outside} {outside}.before"


@pytest.mark.parametrize("case", REFUSED)
def test_a_link_that_cannot_be_repaired_fails_the_capture_and_is_not_followed(
    shell: Backend, sample: Repository, tmp_path: Path, case: str
) -> None:
    outside = tmp_path / "outside"
    script = f"{WORK}{REFUSED[case]}; [ -e OUTSIDE ] || echo x >OUTSIDE"
    task = shell.perform(with_copy(script, outside), sample)
    assert (task["status"], task["error_code"]) == ("failed", "capture_failed")
    assert "a link has replaced" in task["error"]
    before = tmp_path / "outside.before"
    assert snapshot(outside) == snapshot(before)
    assert not outside.is_file() or outside.read_bytes() == before.read_bytes()


@pytest.mark.parametrize(
    "case", sampled(HARMLESS, HARMLESS.keys() - OF_A_KIND, "others are of the same kind")
)
def test_a_link_in_the_folder_of_git_leads_no_write_elsewhere(
    shell: Backend, sample: Repository, tmp_path: Path, case: str
) -> None:
    outside = tmp_path / "outside"
    script = with_copy(WORK + HARMLESS[case], outside)
    task = shell.complete(script, sample)
    assert snapshot(outside) == snapshot(tmp_path / "outside.before")
    check_exact(shell, task, sample, tree_left_by(sample, WORK, tmp_path / "x"), tmp_path)


def test_a_repository_behind_a_link_is_left_alone(
    shell: Backend, sample: Repository, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    script = (
        f"git init -q {outside}/sub; (cd {outside}/sub; echo x >x; git add x; git commit -qm x)\n"
        "git update-index --add --cacheinfo 160000,$(git rev-parse HEAD),away/sub\n"
        f"ln -s {outside} away; echo a >a"
    )
    task = shell.complete(script, sample)
    assert task["changed_files"] == ["a", "away"]
    assert (outside / "sub" / ".git" / "HEAD").exists()
