"""Reads, writes and removes the files of a local sandbox. All functions block."""

from __future__ import annotations

import contextlib
import errno
import heapq
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from utils.sandboxes.protocol import FileEntry

_OWN_FOLDERS = ("work", "tmp")
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC

_DEEPEST = 60
"""Folders in folders that are open at once while they are removed."""

# A link, a folder or a pipe is where a file has to be, or something else where a folder has to be.
_REPLACEABLE = frozenset(
    {errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO, errno.ENOTDIR, errno.ENOENT}
)


def create_folders(folder: Path) -> None:
    """Create the folders of a sandbox."""
    for name in ("home", *_OWN_FOLDERS, "work/result"):
        (folder / name).mkdir(parents=True, mode=0o700)


def exists(folder: Path) -> bool:
    """Tell whether a folder exists; takes less time than to ask a thread for it."""
    try:
        os.close(os.open(folder, _FOLDER))
    except OSError:
        return False
    return True


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


def write_files(root: Path, files: Mapping[str, bytes]) -> None:
    """Write files of a sandbox; create missing folders.

    Nothing is written through a link of an agent: it could lead out of the sandbox.
    """
    for path, content in files.items():
        with os.fdopen(_open_beneath(root, path, _WRITE, replaces=True), "wb") as file:
            file.write(content)


def _remove_whatever(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_folder(path)
    else:
        path.unlink(missing_ok=True)


def read_files(
    root: Path, paths: Sequence[str], max_bytes: int
) -> Iterator[tuple[str, bytes | None]]:
    """Yield path and content of a sandbox's files that exist; None for one that is too large.

    The agent can write there, so pipes, devices and links are skipped; they could block forever,
    or lead out of the sandbox.
    """
    for path in paths:
        with (
            contextlib.suppress(OSError),
            os.fdopen(open_file(root, path), "rb") as file,
        ):
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                content = file.read(max_bytes + 1)
                yield path, content if len(content) <= max_bytes else None


def open_file(root: Path, path: str) -> int:
    """Open a file of a sandbox for reading, through no link. Raises `OSError`."""
    return _open_beneath(root, path, os.O_RDONLY)


def _open_beneath(root: Path, path: str, flags: int, *, replaces: bool = False) -> int:
    """Open a file below a folder, through no link at any place of its path. Raises `OSError`.

    With `replaces`, missing folders are created, and what is in their place or in that of the file
    is removed.
    """
    *parents, name = Path(path).relative_to(root).parts
    reached = root
    folder = os.open(root, _FOLDER)
    try:
        for part in parents:
            reached /= part
            inner = _open_at(part, folder, _FOLDER, reached if replaces else None)
            os.close(folder)
            folder = inner
        file = Path(path) if replaces else None
        return _open_at(name, folder, flags | os.O_NOFOLLOW | os.O_NONBLOCK, file)
    finally:
        os.close(folder)


def _open_at(name: str, folder: int, flags: int, replaced: Path | None) -> int:
    try:
        return os.open(name, flags, 0o666, dir_fd=folder)
    except OSError as error:
        if replaced is None or error.errno not in _REPLACEABLE:
            raise
    # No process of the agent is left that could change the path in between.
    _remove_whatever(replaced)
    if flags & os.O_DIRECTORY:
        os.mkdir(name, dir_fd=folder)
    return os.open(name, flags, 0o666, dir_fd=folder)


def list_folder(root: Path, path: str, most: int) -> list[FileEntry] | None:
    """Return the first entries of a folder by name, None when it is none or behind a link."""
    try:
        folder = _open_listed(root, path)
    except OSError:
        return None
    try:
        names = heapq.nsmallest(most, os.listdir(folder))  # noqa: PTH208 - an open folder
        return [entry for name in names if (entry := _entry(folder, name))]
    finally:
        os.close(folder)


def _open_listed(root: Path, path: str) -> int:
    if Path(path) == root:
        return os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    return _open_beneath(root, path, os.O_RDONLY | os.O_DIRECTORY)


def _entry(folder: int, name: str) -> FileEntry | None:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return None
    moment = datetime.fromtimestamp(found.st_mtime, UTC)
    shown = name.encode(errors="surrogateescape").decode(errors="replace")
    return FileEntry(shown, _kind(found.st_mode), found.st_size, moment)


def _kind(mode: int) -> Literal["file", "folder", "link", "other"]:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return "link" if stat.S_ISLNK(mode) else "other"


def remove_path(root: Path, path: str) -> bool:
    """Remove a file, a link or a folder of a sandbox, through no link; False without it.

    Call it only while no process of the sandbox runs.
    """
    target = Path(path)
    try:
        found = target.lstat() if not _has_link(root, target) else None
    except OSError:
        found = None
    if found is None:
        return False
    _remove_whatever(target)
    return True


def _has_link(root: Path, path: Path) -> bool:
    """Tell whether a folder above a path is behind a link. Raises `OSError`."""
    parents = path.relative_to(root).parents
    return any((root / parent).is_symlink() for parent in parents)


def folder_bytes(root: Path) -> int:
    """Return the size of all files below a folder, as far as they can be read."""
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118
    return total


def remove_folder(folder: Path) -> None:
    """Remove a folder, however deep it is and whatever permissions its files have."""
    with contextlib.suppress(OSError):
        top = _open_folder(str(folder), None)
        try:
            while _empty(top, top, 0):
                pass
        finally:
            os.close(top)
        folder.rmdir()


def _open_folder(name: str, parent: int | None) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        folder = os.open(name, flags, dir_fd=parent)
    except PermissionError:
        # An agent may have removed its own permissions.
        os.chmod(name, stat.S_IRWXU, dir_fd=parent)
        folder = os.open(name, flags, dir_fd=parent)
    with contextlib.suppress(OSError):
        os.fchmod(folder, stat.S_IRWXU)
    return folder


def _empty(folder: int, top: int, depth: int) -> bool:
    """Remove what is in a folder; tell whether some of it was moved to the top.

    Each folder on the way is an open file of this process, of which there are not many.
    """
    is_moved = False
    with os.scandir(folder) as found:
        entries = list(found)
    for entry in entries:
        with contextlib.suppress(OSError):
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.name, dir_fd=folder)
                continue
            inner = _open_folder(entry.name, folder)
            try:
                if depth == _DEEPEST:
                    new = os.urandom(16).hex()
                    os.rename(entry.name, new, src_dir_fd=folder, dst_dir_fd=top)
                    is_moved = True
                    continue
                is_moved |= _empty(inner, top, depth + 1)
            finally:
                os.close(inner)
            os.rmdir(entry.name, dir_fd=folder)
    return is_moved
