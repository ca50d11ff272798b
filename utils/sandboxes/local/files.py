"""Reads, writes and removes the files of a local sandbox. All functions block."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def create_folders(folder: Path) -> None:
    """Create the folders of a sandbox."""
    for name in ("home", "work/result", "tmp"):
        (folder / name).mkdir(parents=True, mode=0o700)


def write_files(files: Mapping[str, bytes]) -> None:
    """Write files; create missing folders."""
    for path, content in files.items():
        try:
            Path(path).write_bytes(content)
        except FileNotFoundError:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(content)


def read_files(paths: Sequence[str], max_bytes: int) -> Iterator[tuple[str, bytes | None]]:
    """Yield path and content of the files that exist; None for one that is too large.

    The agent can write there, so pipes, devices and links are skipped; they could block forever.
    """
    for path in paths:
        with (
            contextlib.suppress(OSError),
            open(path, "rb", opener=_without_waiting) as file,
        ):
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                content = file.read(max_bytes + 1)
                yield path, content if len(content) <= max_bytes else None


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)


def remove_folder(folder: Path) -> None:
    """Remove a folder, whatever permissions its files have."""

    def unlock(function: Any, path: str, _error: Any) -> None:
        # An agent may have removed its own permissions.
        with contextlib.suppress(OSError):
            os.chmod(Path(path).parent, 0o700)  # noqa: PTH101
            os.chmod(path, 0o700)  # noqa: PTH101
            function(path)

    for _ in range(2):
        shutil.rmtree(folder, onerror=unlock)
        if not folder.exists():
            return
