"""Keeps the data folder to its owner: secrets, prompts, clones and results are in it."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from utils.errors import ConfigurationError

PRIVATE_UMASK = 0o077

FULL_BYTES = 1_000_000
"""With less free space a disk counts as full: nothing useful can be done with it."""

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_files_private() -> None:
    """Let this process and its children create files for their owner only."""
    os.umask(PRIVATE_UMASK)


def open_private_folder(folder: Path) -> None:
    """Create a folder if it is missing, and close it to others. Raises `OSError`.

    A folder that other things are in (`/tmp`, a home) stays as it is, and so does one of another
    user. What the server creates in it is closed by the umask.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if not status.st_mode & _OTHERS:
        return
    is_shared = bool(status.st_mode & stat.S_ISVTX) or folder.resolve() in _shared_folders()
    if status.st_uid == os.geteuid() and not is_shared:
        folder.chmod(stat.S_IMODE(status.st_mode) & ~_OTHERS)


def write_once(path: Path, text: str) -> None:
    """Write a file that is missing, as a whole or not at all; leave one that is there.

    Of several processes that do so at once one wins. Raises `OSError`.
    """
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def data_folder_unusable(folder: Path, error: OSError) -> ConfigurationError:
    """Return the error of a server whose data folder cannot be used, with the remedy."""
    if is_out_of_space(error):
        advice = "Free some disk space"
    else:
        advice = "Make it a folder that this user can write"
    reason = error.strerror or type(error).__name__
    return ConfigurationError(
        f"The data folder {folder.absolute()} cannot be used: {reason}. {advice}, or set DATA_DIR "
        "to another folder."
    )


def is_out_of_space(error: OSError) -> bool:
    """Tell whether an operation failed because a disk is full, or the share of this user."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}


def is_disk_full(folder: Path) -> bool:
    """Tell whether the disk of a folder is full. Raises `OSError`."""
    return shutil.disk_usage(folder).free < FULL_BYTES


def _shared_folders() -> set[Path]:
    return {Path("/"), Path.home().resolve(), Path.cwd().resolve()}
