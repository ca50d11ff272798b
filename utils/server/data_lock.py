"""Locks the data folder, so that only one server uses it.

The operating system releases the lock when the process ends, in whatever way.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import structlog

from utils.errors import ConfigurationError

LOCK_FILE = "lock"
_PAUSE_SECONDS = 0.05

log = structlog.get_logger(__name__)


@contextmanager
def lock_data_folder(folder: Path, wait_seconds: float) -> Iterator[None]:
    """Hold the lock of a data folder for the duration of the block; create a missing folder.

    Waits `wait_seconds` at most for another server that is stopping. Raises `ConfigurationError`.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (folder / LOCK_FILE).open("a")
    except OSError as error:
        raise ConfigurationError(f"DATA_DIR cannot be used: {error.strerror}.") from error
    with file:
        _lock(file, folder.absolute(), wait_seconds)
        yield


def _lock(file: IO[str], folder: Path, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    announced = False
    while not _try_lock(file):
        if time.monotonic() > deadline:
            raise ConfigurationError(
                f"Another server is using the data folder {folder}. Stop that server, or set "
                "DATA_DIR to another folder."
            )
        if not announced:
            log.warning("another server has the data folder", action="data_folder.locked")
            announced = True
        time.sleep(_PAUSE_SECONDS)


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
