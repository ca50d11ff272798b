"""Writes and reads the files of archived tasks: lines of JSON, compressed with Zstandard.

A file is complete or not there: it is written under another name, flushed to the disk, and renamed.
A task may be in two files when a server ended between the file and the deletion of its tasks, or
when two servers did the same at once. The database names the one that counts.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from utils.config.private_folder import is_out_of_space, open_private_folder
from utils.errors import ConfigurationError, NotFound
from utils.models.archive import ArchiveFile
from utils.models.tasks import Json

FOLDER = "archive"
FORMAT = 1
SUFFIX = ".jsonl.zst"
DRAFT_SUFFIX = ".draft"

DRAFT_SECONDS = 3_600
"""Age from which a file that was not finished counts as left behind."""


class Archive:
    """The archive in a data folder: a folder for each day, a file for each batch of tasks."""

    def __init__(self, data_folder: Path) -> None:
        self._folder = data_folder / FOLDER

    def write(self, records: Iterable[str], moment: datetime) -> ArchiveFile:
        """Write a file of task records, each a JSON object in one line; return its name.

        Raises `ConfigurationError` when the folder cannot be written.
        """
        name = f"{moment:%Y-%m-%d}/{moment:%H%M%S}-{secrets.token_hex(4)}{SUFFIX}"
        path = self._folder / name
        draft = path.with_name(path.name + DRAFT_SUFFIX)
        try:
            open_private_folder(self._folder)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            self._remove_old_drafts(path.parent)
            _write(draft, records, moment)
            draft.rename(path)
            for folder in (path.parent, self._folder):
                _flush_folder(folder)
        except OSError as error:
            with suppress(OSError):
                draft.unlink()
            raise self._unusable(error) from error
        return ArchiveFile(name, moment)

    def discard(self, file: ArchiveFile) -> None:
        """Remove a file of tasks that are all still in the database."""
        with suppress(OSError):
            (self._folder / file.name).unlink()

    def find(self, name: str, task_id: int) -> Json:
        """Return the line of a task in a file. Raises `NotFound`."""
        for line in self.read(name):
            if line["task"]["id"] == task_id:
                return line
        raise NotFound(f"The task is not in {self._folder / name}. Is the file complete?")

    def read(self, name: str) -> Iterator[Json]:
        """Yield the lines of a file. Raises `NotFound` when it is not here."""
        path = self._folder / name
        try:
            with path.open("rb") as raw, zstandard().ZstdFile(raw) as file:
                for line in file:
                    yield json.loads(line)
        except OSError as error:
            raise NotFound(f"{path} cannot be read: {error.strerror}.") from error

    def _remove_old_drafts(self, folder: Path) -> None:
        for draft in folder.glob(f"*{DRAFT_SUFFIX}"):
            with suppress(OSError):
                if time.time() - draft.stat().st_mtime > DRAFT_SECONDS:
                    draft.unlink()

    def _unusable(self, error: OSError) -> ConfigurationError:
        advice = "Free some disk space" if is_out_of_space(error) else "Let this user write there"
        reason = error.strerror or type(error).__name__
        return ConfigurationError(
            f"The archive {self._folder.absolute()} cannot be written: {reason}. {advice}, or set "
            "ARCHIVE=false to delete old tasks without a copy."
        )


def _write(draft: Path, records: Iterable[str], moment: datetime) -> None:
    head = f'{{"format":{FORMAT},"archived_at":"{moment.isoformat()}",'
    with _created(draft) as raw:
        with zstandard().ZstdFile(raw, "w") as file:
            for record in records:
                file.write(f"{head}{record[1:]}\n".encode(errors="replace"))
        raw.flush()
        os.fsync(raw.fileno())


def _created(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _flush_folder(folder: Path) -> None:
    """Have the names in a folder survive a power cut."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def zstandard() -> Any:
    """Return the library for compression, which is loaded only where a file is used."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd
