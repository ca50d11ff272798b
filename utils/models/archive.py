"""Values of tasks that are moved from the database to the archive."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """Everything that is stored of a task, as one JSON object in one line of text."""

    id: int
    text: str


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """A file of the archive: its name in the folder of the archive, and when it was written."""

    name: str
    archived_at: datetime


@dataclass(frozen=True, slots=True)
class ArchivedTask:
    """The trace of an archived task in the database: whose it was, and where it is now.

    `server` is the server whose data folder holds the file.
    """

    user_id: str
    task_id: int
    archived_at: datetime
    file: str
    server: str
