"""Reads, writes and removes the files of a local sandbox. All functions block."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_OWN_FOLDERS = ("work", "tmp")
_NO_PLAIN_FILE = frozenset({errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO})


def create_folders(folder: Path) -> None:
    """Create the folders of a sandbox."""
    for name in ("home", *_OWN_FOLDERS, "work/result"):
        (folder / name).mkdir(parents=True, mode=0o700)


def restore_folders(folder: Path) -> None:
    """Make the folders of a sandbox usable again after an agent; create ours again.

    Raises `OSError` when the sandbox is gone.
    """
    _unlock(folder)
    for path in (folder / "home", folder / "repository"):
        with contextlib.suppress(OSError):
            _unlock(path)
    for path in (folder / name for name in _OWN_FOLDERS):
        try:
            _unlock(path)
        except OSError:
            _remove_whatever(path)
            path.mkdir(mode=0o700)


def _unlock(folder: Path) -> None:
    """Give the owner all permissions of a folder. Raises `OSError` when it is none."""
    mode = folder.lstat().st_mode
    if not stat.S_ISDIR(mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if mode & stat.S_IRWXU != stat.S_IRWXU:
        folder.chmod(stat.S_IMODE(mode) | stat.S_IRWXU)


def write_files(files: Mapping[str, bytes]) -> None:
    """Write files; create missing folders. Nothing is written through a link of an agent."""
    for path, content in files.items():
        try:
            _write_file(path, content)
        except FileNotFoundError:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            _write_file(path, content)
        except OSError as error:
            if error.errno not in _NO_PLAIN_FILE:
                raise
            _remove_whatever(Path(path))
            _write_file(path, content)


def _write_file(path: str, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK
    with open(os.open(path, flags, 0o666), "wb") as file:  # noqa: PTH123 - of a descriptor
        file.write(content)


def _remove_whatever(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_folder(path)
    else:
        path.unlink(missing_ok=True)


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
            # The mode of a link is that of its target, which is somebody else's.
            if not Path(path).is_symlink():
                os.chmod(path, 0o700)  # noqa: PTH101
            function(path)

    for _ in range(2):
        shutil.rmtree(folder, onerror=unlock)
        if not folder.exists():
            return
