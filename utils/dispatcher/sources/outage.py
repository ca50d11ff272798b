"""Knows since when the database fails, so that begin and end of it are logged once."""

from __future__ import annotations

import time


class Outage:
    """One time without the database, from the first failure to the next success."""

    def __init__(self) -> None:
        self._since: float | None = None

    def begins(self) -> bool:
        """Note a failure; tell whether it is the first one."""
        is_first = self._since is None
        if is_first:
            self._since = time.monotonic()
        return is_first

    def ends(self) -> float | None:
        """Note a success; return the seconds since the first failure, None when nothing failed."""
        since, self._since = self._since, None
        return None if since is None else time.monotonic() - since
