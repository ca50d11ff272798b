"""Remembers whether the database could be written last, and logs why not."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from utils.errors import DatabaseUnavailable

LOG_PAUSE_SECONDS = 60.0

log = structlog.get_logger(__name__)


class FailureRecord:
    """Remembers why the last write failed, and logs each reason at most once a minute."""

    def __init__(self) -> None:
        self.write_failure: str | None = None
        self.is_logging = False
        """False until a write succeeded: a server that cannot start prints the reason itself."""
        self._logged: dict[str, float] = {}

    def record(self, reason: str, *, is_write: bool) -> None:
        """Log the reason of a failure; a failed write counts until one succeeds."""
        if is_write:
            self.write_failure = reason
        now = time.monotonic()
        last = self._logged.get(reason, -LOG_PAUSE_SECONDS)
        if self.is_logging and now - last >= LOG_PAUSE_SECONDS:
            self._logged[reason] = now
            log.warning("database failed", action="database.failed", reason=reason)

    def recheck(self, write: Callable[[], object]) -> str | None:
        """Return why the last write failed, unless one that changes nothing succeeds now.

        Nothing else may write while the server counts as not ready.
        """
        if self.write_failure:
            with suppress(DatabaseUnavailable):
                write()
        return self.write_failure

    def record_write(self) -> None:
        """Note that a write succeeded."""
        self.write_failure = None
        self.is_logging = True
