"""Watches the other servers that share the database.

A server that shows no sign of life for a while has ended, and its tasks are adopted. What counts
is how long this server has watched it in vain, by its own clock and without a gap: after a time in
which the database was away, everybody looks silent.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import anyio
import structlog
from anyio import to_thread

from database import Database
from utils.errors import AppError
from utils.models.tasks import Heartbeat, QueuedTask

HEARTBEATS_PER_TIMEOUT = 6
"""Signs of life that a server gives within the time after which it would count as ended."""

log = structlog.get_logger(__name__)


class TaskHost(Protocol):
    """The server that has neighbours. Its verbs are called on the event loop."""

    def knows(self, task_id: int) -> bool:
        """Whether a task waits or runs here."""

    def stop_soon(self, task_id: int) -> None:
        """Have a task that runs here stopped for its user, without waiting for it."""

    async def resume_tasks(self, tasks: Sequence[QueuedTask], *, taken_over: bool = False) -> None:
        """Go on with tasks that are this server's now; `taken_over` from one that has ended."""


class HeartbeatMonitor:
    """Gives this server's signs of life and notes those of the others."""

    def __init__(self, database: Database, silence_seconds: float) -> None:
        self._database = database
        self._silence_seconds = silence_seconds
        self._last_seen: dict[str, tuple[int, float]] = {}
        self._looked_at = time.monotonic()
        self._others = 0
        self._in_doubt = False
        self._is_taking_over = False

    def doubt(self) -> None:
        """Say that a task may be this server's without it knowing: an answer was lost."""
        self._in_doubt = True

    @property
    def has_peers(self) -> bool:
        """Whether another server could be seen when this one last could see any."""
        return self._others > 0

    def look(self) -> tuple[list[str], list[int]]:
        """Return the servers that have ended, and the tasks here that somebody wants stopped.

        Blocking. Raises `DatabaseUnavailable`.
        """
        try:
            beat = self._database.beat()
        except AppError:
            self._last_seen.clear()
            raise
        now = time.monotonic()
        gap = now - self._looked_at
        if gap > self._silence_seconds / 2:
            # What held this server up, a slow database or machine, may have held up the others, so
            # that time does not count.
            held_up = gap - self._silence_seconds / HEARTBEATS_PER_TIMEOUT
            self._last_seen = {
                name: (beats, since + held_up) for name, (beats, since) in self._last_seen.items()
            }
        self._looked_at = now
        self._note(beat, now)
        silent = [
            name
            for name, (_, since) in self._last_seen.items()
            if now - since > self._silence_seconds
        ]
        return silent, beat.stops

    async def watch(self, host: TaskHost) -> None:
        """Look again and again until cancelled.

        Nothing else is waited for: signs of life that come late look like the end of this server.
        """
        async with anyio.create_task_group() as background:
            while True:
                await anyio.sleep(self._silence_seconds / HEARTBEATS_PER_TIMEOUT)
                try:
                    silent, stops = await to_thread.run_sync(self.look)
                except AppError as error:
                    log.warning(
                        "heartbeat not written", action="heartbeat.failed", reason=error.message
                    )
                    continue
                except Exception:
                    # Whatever it is, it must not end the tasks that run beside this.
                    log.exception("heartbeat monitor crashed", action="heartbeat.monitor_crashed")
                    continue
                for task_id in stops:
                    host.stop_soon(task_id)
                if (silent or self._in_doubt) and not self._is_taking_over:
                    self._is_taking_over = True
                    background.start_soon(self._take_over, silent, host)

    async def _take_over(self, silent: Sequence[str], host: TaskHost) -> None:
        in_doubt, self._in_doubt = self._in_doubt, False
        try:
            if in_doubt:
                own = await to_thread.run_sync(partial(self._database.adopt_tasks, own=True))
                await host.resume_tasks([task for task in own if not host.knows(task.id)])
            if silent:
                log.warning("server lost", action="heartbeat.server_lost", servers=silent)
                adopted = await to_thread.run_sync(self._database.adopt_tasks, silent)
                await host.resume_tasks(adopted, taken_over=True)
        except AppError as error:
            # What was adopted and not taken on is found among this server's own next time.
            self._in_doubt = True
            log.warning("tasks not taken over yet", action="takeover.failed", reason=error.message)
        except Exception:
            self._in_doubt = True
            log.exception("takeover crashed", action="takeover.crashed")
        finally:
            self._is_taking_over = False

    def _note(self, beat: Heartbeat, now: float) -> None:
        self._others = len(beat.others)
        self._last_seen = {
            name: (beats, now)
            if self._last_seen.get(name, (None, now))[0] != beats
            else self._last_seen[name]
            for name, beats in beat.others.items()
        }
