"""Checks that a task's patch and diff reproduce exactly the files that the agent left."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.backends import GIT_ENVIRONMENT, Backend, Repository, Row, git, run

SAMPLE = r"""
mkdir -p src docs/deep 'a folder' assets
printf 'print("hello")\nprint("two")\nprint("three")\n' >src/app.py
printf 'one\ntwo\nthree\nfour\nfive\nsix\nseven\n' >docs/notes.txt
printf 'one\r\ntwo\r\nthree\r\n' >docs/dos.txt
printf 'one\ntwo\r\nthree\rfour\n' >docs/mixed.txt
printf 'caf\351\nna\357ve\n' >docs/latin.txt
printf 'no newline' >docs/open_end.txt
printf 'deep\n' >docs/deep/file.txt
printf '\000\001\002binary\377' >assets/image.bin
printf '#!/bin/sh\necho hello\n' >tool.sh && chmod +x tool.sh
printf 'spaced\n' >'a folder/a file.txt'
printf 'x\n' >-rf
printf 'x\n' >"$(printf 'na\357ve.txt')"
printf '*.log\nbuild/\n' >.gitignore
: >empty.txt
ln -s docs/notes.txt link
ln -s ../../outside.txt escape
"""


def make_sample(folder: Path) -> Repository:
    """Create a small repository with a file of every kind."""
    repository = Repository(folder)
    repository.commit("printf 'First.\\n' >README.md", "Start")
    repository.commit(SAMPLE, "Add one of each")
    repository.commit("echo kept >tracked.log && git add -f tracked.log", "Track an ignored file")
    return repository


def repeated(origin: Repository, names: list[str], folder: Path) -> Repository:
    """Return a repository with a copy of another one's files in each of some folders."""
    made = Repository(folder)
    git(folder, "fetch", "--quiet", str(origin.folder), "main")
    tree = git(folder, "rev-parse", "FETCH_HEAD^{tree}")
    entries = "".join(f"040000 tree {tree}\t{name}\n" for name in names)
    top = git(folder, "mktree", stdin=entries.encode())
    git(folder, "update-ref", "refs/heads/main", git(folder, "commit-tree", top, "-m", "Start"))
    return made


def together(
    origin: Repository, cases: Mapping[str, str], folder: Path
) -> tuple[Repository, dict[str, str]]:
    """Return a repository with a copy of another one for each case, and the script of each copy.

    The one that changes branches comes before the others are under way.
    """
    ordered = sorted(cases, key=lambda name: name != "a merge")
    scripts = {f"{number:03}": cases[name] for number, name in enumerate(ordered)}
    return repeated(origin, [*scripts], folder), scripts


def in_folders(scripts: Mapping[str, str]) -> str:
    """Return one script that runs each script in its folder."""
    return "".join(f"(cd {name}\n{script}\n)\n" for name, script in scripts.items())


def tree_left_by(repository: Repository, script: str, folder: Path) -> str:
    """Return the tree of the files that a script leaves, even if it changes git itself.

    The script runs in a clone, whose files then count as those of the repository itself.
    """
    worked = repository.clone(folder / "worked")
    subprocess.run(
        ["sh", "-c", script],
        cwd=worked,
        env={**GIT_ENVIRONMENT, "HOME": str(folder)},
        capture_output=True,
        check=False,
    )
    subprocess.run(["chmod", "-R", "u+rwX", "."], cwd=worked, check=True)
    _remove_repositories(worked)
    own = Path(git(repository.folder, "rev-parse", "--absolute-git-dir"))
    (folder / "objects").mkdir()
    environment = {
        "GIT_DIR": str(own),
        "GIT_WORK_TREE": str(worked),
        "GIT_INDEX_FILE": str(folder / "index"),
        "GIT_OBJECT_DIRECTORY": str(folder / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(own / "objects"),
    }
    run(["git", "read-tree", "HEAD"], worked, environment=environment)
    run(["git", "add", "--all"], worked, environment=environment)
    return run(["git", "write-tree"], worked, environment=environment).decode().strip()


def _remove_repositories(folder: Path) -> None:
    for path in sorted(folder.rglob(".git"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def check_exact(
    backend: Backend, task: Row, repository: Repository, expected: str, folder: Path
) -> None:
    """Assert that the stored diff and the stored patch turn the base into a tree.

    Leaves the patch applied in the clone `patched` below the folder.
    """
    metadata = task["execution_metadata"]
    assert metadata["tree_hash"] == expected
    patched = repository.clone(folder / "patched")
    git(patched, "checkout", "--quiet", "--detach", metadata["base_commit"])
    _apply(patched, ["git", "apply", "--index", "--whitespace=nowarn"], task["git_diff"].encode())
    assert git(patched, "write-tree") == expected
    git(patched, "reset", "--quiet", "--hard", metadata["base_commit"])
    patch = backend.patch(task["id"])
    assert patch.decode() == task["git_patch"]
    _apply(patched, ["git", "am", "--quiet"], patch)
    assert git(patched, "rev-parse", "HEAD^{tree}") == expected
    assert git(patched, "status", "--porcelain") == ""


def _apply(folder: Path, arguments: list[str], data: bytes) -> None:
    result = subprocess.run(
        arguments, cwd=folder, input=data, env=GIT_ENVIRONMENT, capture_output=True, check=False
    )
    assert result.returncode == 0, (
        result.stderr.decode(errors="replace") + "\n" + data[:4000].decode(errors="replace")
    )
