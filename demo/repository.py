"""Finds the repository that `--repo` means, and explains what is wrong with it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

GIT_SECONDS = 20


class RepositoryError(Exception):
    """The place that was named is no repository; the message tells what to do."""


def require_git() -> None:
    """Raise `RepositoryError` when git cannot be run."""
    try:
        _git(Path.cwd(), "--version")
    except OSError:
        raise RepositoryError(
            "git was not found on PATH. Install version 2.30 or newer, then run this again."
        ) from None


def check_folder(repo: str) -> None:
    """Raise `RepositoryError` for a place on this disk that is not the top of a repository."""
    folder = Path(repo)
    if "://" in repo or not folder.is_absolute():
        return
    if not folder.exists():
        raise RepositoryError(f"There is no folder {folder}. Check --repo.")
    if not folder.is_dir():
        raise RepositoryError(f"{folder} is a file. Give the folder of its repository as --repo.")
    found = _git(folder, "rev-parse", "--is-bare-repository", "--git-dir", "--show-toplevel")
    words = found.stdout.splitlines()
    if not words:
        raise RepositoryError(
            f"{folder} is in no git repository. Create one there, or leave --repo out:\n"
            f"  git -C {folder} init && git -C {folder} add . && git -C {folder} commit -m Begin"
        )
    top = Path(words[2]) if len(words) > 2 else None  # noqa: PLR2004 - a bare one has no top
    if words[0] == "false" and top is not None and top.resolve() != folder.resolve():
        raise RepositoryError(f"{folder} is inside the repository {top}. Use --repo {top}")
    if words[0] == "true" and words[1] not in {".", str(folder)}:
        raise RepositoryError(f"{folder} is inside a repository. Use --repo with its top folder.")


def allowed_hosts(repo: str) -> str:
    """Return the hosts that a demonstration may clone from: all public ones, and that of `repo`.

    The user has named it, so it may be in a private network.
    """
    place = repo.partition("://")[2].partition("/")[0].rpartition("@")[2]
    return f"{place},*" if re.fullmatch(r"[A-Za-z0-9.-]+(?::[0-9]+)?", place) else "*"


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_CEILING_DIRECTORIES": ""},
        timeout=GIT_SECONDS,
        check=False,
    )
