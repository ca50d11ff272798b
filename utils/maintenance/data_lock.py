"""Locks the data folder, so that one server at a time uses it.

The lock belongs to the process: the operating system releases it when the process ends, even after
`kill -9`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from filelock import FileLock, Timeout

from utils.config.private_folder import data_folder_unusable, open_private_folder
from utils.errors import ConfigurationError

LOCK_FILE = "lock"

log = structlog.get_logger(__name__)


@contextmanager
def lock_data_folder(folder: Path, wait_seconds: float) -> Iterator[None]:
    """Hold the lock of a data folder during the block; create the folder if it is missing.

    Waits up to `wait_seconds` for a server that is about to stop. Raises `ConfigurationError` when
    another server still holds the lock, or when the folder cannot be used.
    """
    # Another thread may stop the server. A lock file without flock would outlive its process.
    lock = FileLock(folder / LOCK_FILE, thread_local=False, fallback_to_soft=False)
    try:
        open_private_folder(folder)
        _acquire(lock, wait_seconds)
    except Timeout as error:
        raise ConfigurationError(
            f"Another server is using the data folder {folder.absolute()}. Stop that server, or "
            "set DATA_DIR to another folder."
        ) from error
    except OSError as error:
        raise data_folder_unusable(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock, wait_seconds: float) -> None:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.warning("another server has the data folder", action="data_folder.locked")
        lock.acquire(timeout=wait_seconds)
