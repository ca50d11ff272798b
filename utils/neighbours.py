"""Watches the other servers that share the database.

A server that shows no sign of life for a while has ended, and its tasks are adopted. What counts
is how long this server has watched it in vain, by its own clock and without a gap: after a time in
which the database was away, everybody looks silent.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

import anyio
import structlog
from anyio import to_thread

from database import Database
from utils.errors import AppError
from utils.models import Beat

BEATS_WITHIN_SILENCE = 6
"""Signs of life that a server gives within the time after which it would count as ended."""

log = structlog.get_logger(__name__)


class Neighbours:
    """Gives this server's signs of life and notes those of the others."""

    def __init__(self, database: Database, silence_seconds: float) -> None:
        self._database = database
        self._silence_seconds = silence_seconds
        self._last_seen: dict[str, tuple[int, float]] = {}

    def look(self) -> tuple[list[str], list[int]]:
        """Return the servers that have ended, and the tasks here that somebody wants stopped.

        Blocking. Raises `DatabaseUnavailable`.
        """
        try:
            beat = self._database.beat()
        except AppError:
            self._last_seen.clear()
            raise
        self._note(beat)
        now = time.monotonic()
        silent = [
            name
            for name, (_, since) in self._last_seen.items()
            if now - since > self._silence_seconds
        ]
        return silent, beat.stops

    async def watch(
        self,
        adopt: Callable[[Sequence[str]], Awaitable[None]],
        stop: Callable[[int], Awaitable[object]],
    ) -> None:
        """Look again and again until cancelled."""
        while True:
            await anyio.sleep(self._silence_seconds / BEATS_WITHIN_SILENCE)
            try:
                silent, stops = await to_thread.run_sync(self.look)
                if silent:
                    log.warning("server ended", action="server_ended", servers=silent)
                    await adopt(silent)
                for task_id in stops:
                    await stop(task_id)
            except AppError as error:
                log.warning("no sign of life given", action="beat_failed", reason=error.message)
            except Exception:
                # Whatever it is, it must not end the tasks that run beside this.
                log.exception("watch broke", action="watch_broke")

    def _note(self, beat: Beat) -> None:
        now = time.monotonic()
        self._last_seen = {
            name: (beats, now)
            if self._last_seen.get(name, (None, now))[0] != beats
            else self._last_seen[name]
            for name, beats in beat.others.items()
        }
