"""Exchanges heartbeats with the other servers of the database and takes over their tasks.

A server without a heartbeat for the timeout counts as ended, and its tasks are claimed. The time is
measured by this server's own clock, and only while this server reads heartbeats without a gap:
after the database was unreachable, every server looks silent.
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
from utils.dispatcher.sources.outage import Outage
from utils.errors import AppError
from utils.models.tasks import Heartbeat, QueuedTask

HEARTBEATS_PER_TIMEOUT = 6
"""Heartbeats that a server sends within the time after which it counts as ended."""

log = structlog.get_logger(__name__)


class TaskHost(Protocol):
    """The part of this server that holds tasks. Its methods run on the event loop."""

    def has_task(self, task_id: int) -> bool:
        """Tell whether a task is queued or running here."""

    def cancel_soon(self, task_id: int) -> None:
        """Cancel a task that runs here for its user, without waiting for its end."""

    def interrupt_soon(self, task_id: int, number: int) -> None:
        """Interrupt a turn for its user, if it is the one that the task runs here."""

    def leave_tasks(self) -> None:
        """Leave the tasks that another server may have taken over and may go on with."""

    async def resume_tasks(self, tasks: Sequence[QueuedTask], *, taken_over: bool = False) -> None:
        """Resume tasks that this server has claimed; `taken_over` from a server that ended."""


class HeartbeatMonitor:
    """Sends this server's heartbeats and detects servers that have ended."""

    def __init__(self, database: Database, timeout_seconds: float) -> None:
        self._database = database
        self._timeout_seconds = timeout_seconds
        self._last_seen: dict[str, tuple[int, float]] = {}
        self._exchanged_at = self._confirmed_at = time.monotonic()
        self._peers = 0
        self._must_reclaim = False
        self._is_taking_over = False

    def request_reclaim(self) -> None:
        """Search for unknown tasks of this server at the next heartbeat.

        To be called when the answer to a write was lost: the row may exist all the same.
        """
        self._must_reclaim = True

    @property
    def has_peers(self) -> bool:
        """True when the last successful exchange showed another server."""
        return self._peers > 0

    def exchange(self) -> tuple[list[str], Heartbeat]:
        """Send a heartbeat; return the servers that have ended and what this server is told.

        Blocks. Raises `DatabaseUnavailable`.
        """
        asked_at = time.monotonic()
        try:
            heartbeat = self._database.record_heartbeat()
        except AppError:
            self._last_seen.clear()
            raise
        now = time.monotonic()
        gap = now - self._exchanged_at
        if gap > self._timeout_seconds / 2:
            # The cause of this delay, a slow database or machine, may have delayed the others as
            # well, so the delay does not count.
            delay = gap - self._timeout_seconds / HEARTBEATS_PER_TIMEOUT
            self._last_seen = {
                name: (count, since + delay) for name, (count, since) in self._last_seen.items()
            }
        self._exchanged_at, self._confirmed_at = now, asked_at
        self._update_last_seen(heartbeat, now)
        ended = [
            name
            for name, (_, since) in self._last_seen.items()
            if now - since > self._timeout_seconds
        ]
        return ended, heartbeat

    async def run(self, host: TaskHost) -> None:
        """Exchange heartbeats until cancelled.

        Taking over tasks runs in the background: a late heartbeat would look like the end of this
        server.
        """
        outage = Outage()
        async with anyio.create_task_group() as background:
            background.start_soon(self._watch_own, host)
            while True:
                await anyio.sleep(self._pause_seconds)
                try:
                    ended, heartbeat = await to_thread.run_sync(self.exchange)
                except AppError as error:
                    if outage.begins():
                        reason = error.message
                        log.warning("no heartbeat", action="heartbeat.failed", reason=reason)
                    continue
                except Exception:
                    # An unexpected error must not end the tasks that run on the same loop.
                    log.exception("heartbeat monitor crashed", action="heartbeat.monitor_crashed")
                    continue
                if (seconds := outage.ends()) is not None:
                    seconds = round(seconds)
                    log.info("heartbeats again", action="heartbeat.recovered", seconds=seconds)
                for task_id in heartbeat.stops:
                    host.cancel_soon(task_id)
                for turn in heartbeat.interrupted:
                    host.interrupt_soon(*turn)
                if (ended or self._must_reclaim) and not self._is_taking_over:
                    self._is_taking_over = True
                    background.start_soon(self._take_over, ended, host)

    @property
    def _pause_seconds(self) -> float:
        return self._timeout_seconds / HEARTBEATS_PER_TIMEOUT

    async def _watch_own(self, host: TaskHost) -> None:
        """Leave the tasks before another server takes them over for want of heartbeats.

        A single server goes on: nobody else can have its tasks.
        """
        has_left = False
        while True:
            over_at = self._confirmed_at + self._timeout_seconds - self._pause_seconds
            left_seconds = over_at - time.monotonic()
            if left_seconds <= 0 and self.has_peers and not has_left:
                has_left = True
                log.warning("tasks left to other servers", action="heartbeat.tasks_left")
                host.leave_tasks()
            has_left = has_left and left_seconds <= 0
            await anyio.sleep(left_seconds if left_seconds > 0 else self._pause_seconds)

    async def _take_over(self, ended: Sequence[str], host: TaskHost) -> None:
        must_reclaim, self._must_reclaim = self._must_reclaim, False
        claim = self._database.claim_unfinished_tasks
        try:
            if must_reclaim:
                own = await to_thread.run_sync(partial(claim, own=True))
                await host.resume_tasks([task for task in own if not host.has_task(task.id)])
            if ended:
                log.warning("server lost", action="heartbeat.server_lost", servers=ended)
                claimed = await to_thread.run_sync(claim, ended)
                await host.resume_tasks(claimed, taken_over=True)
        except AppError as error:
            # Tasks that were claimed and not resumed are found among this server's own next time.
            self._must_reclaim = True
            log.warning("tasks not taken over yet", action="takeover.failed", reason=error.message)
        except Exception:
            self._must_reclaim = True
            log.exception("takeover crashed", action="takeover.crashed")
        finally:
            self._is_taking_over = False

    def _update_last_seen(self, heartbeat: Heartbeat, now: float) -> None:
        self._peers = len(heartbeat.others)
        self._last_seen = {
            name: (count, now)
            if self._last_seen.get(name, (None, now))[0] != count
            else self._last_seen[name]
            for name, count in heartbeat.others.items()
        }
