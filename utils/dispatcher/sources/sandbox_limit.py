"""Knows whether as many sandboxes run as all workers together may have."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from database import Database
from utils.errors import AppError

READ_SECONDS = 2.0
"""Age after which the sandboxes are counted again when somebody asks."""


class SandboxLimit:
    """Tells why tasks wait. The database holds to the limit; None is no limit. For all threads."""

    def __init__(self, database: Database, most: int | None) -> None:
        self._database = database
        self._most = most
        self._lock = threading.Lock()
        self._read_at = -READ_SECONDS
        self._count = 0

    def set(self) -> None:
        """Have the database hold to the limit. Raises `DatabaseUnavailable`."""
        self._database.limit_sandboxes(self._most)

    def reason(self) -> str | None:
        """Return that the limit is reached, None while it is not. Blocks."""
        if self._most is None:
            return None
        with self._lock:
            if time.monotonic() - self._read_at >= READ_SECONDS:
                self._read_at = time.monotonic()
                with suppress(AppError):
                    self._count = self._database.count_sandboxes()
        if self._count < self._most:
            return None
        return f"waiting: {self._count} of {self._most} sandboxes run (MAX_SANDBOXES)"
