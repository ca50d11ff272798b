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
from utils.models import Beat, QueuedTask

BEATS_WITHIN_SILENCE = 6
"""Signs of life that a server gives within the time after which it would count as ended."""

log = structlog.get_logger(__name__)


class Neighbours:
    """Gives this server's signs of life and notes those of the others."""

    def __init__(self, database: Database, silence_seconds: float) -> None:
        self._database = database
        self._silence_seconds = silence_seconds
        self._last_seen: dict[str, tuple[int, float]] = {}
        self._in_doubt = False

    def doubt(self) -> None:
        """Say that a task may be this server's without it knowing: an answer was lost."""
        self._in_doubt = True

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
        take_on: Callable[[list[QueuedTask]], Awaitable[None]],
        stop: Callable[[int], Awaitable[object]],
        is_known: Callable[[int], bool],
    ) -> None:
        """Look again and again until cancelled.

        `take_on` gets what was adopted, and, in doubt, what is this server's and not known to it;
        `stop` what somebody wants stopped.
        """
        while True:
            await anyio.sleep(self._silence_seconds / BEATS_WITHIN_SILENCE)
            try:
                silent, stops = await to_thread.run_sync(self.look)
                if self._in_doubt:
                    await take_on(await to_thread.run_sync(self._find_own, is_known))
                if silent:
                    await take_on(await to_thread.run_sync(self._adopt, silent))
                for task_id in stops:
                    await stop(task_id)
            except AppError as error:
                log.warning("no sign of life given", action="beat_failed", reason=error.message)
            except Exception:
                # Whatever it is, it must not end the tasks that run beside this.
                log.exception("watch broke", action="watch_broke")

    def _find_own(self, is_known: Callable[[int], bool]) -> list[QueuedTask]:
        self._in_doubt = False
        try:
            own = self._database.adopt_tasks(own=True)
        except AppError:
            self._in_doubt = True
            raise
        return [task for task in own if not is_known(task.id)]

    def _adopt(self, silent: Sequence[str]) -> list[QueuedTask]:
        log.warning("server ended", action="server_ended", servers=silent)
        try:
            return self._database.adopt_tasks(silent)
        except AppError:
            self._in_doubt = True
            raise

    def _note(self, beat: Beat) -> None:
        now = time.monotonic()
        self._last_seen = {
            name: (beats, now)
            if self._last_seen.get(name, (None, now))[0] != beats
            else self._last_seen[name]
            for name, beats in beat.others.items()
        }
