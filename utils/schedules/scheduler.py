"""Starts the tasks of schedules when their moments are due.

The database gives a due schedule to one server, and creates the task of a moment once. A server
that is killed between the two, or before it has stored the next moment, leaves the schedule to be
claimed again: then its row tells whether there is a task already.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from database import Database
from utils.errors import (
    AppError,
    Conflict,
    DatabaseUnavailable,
    QueueFull,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from utils.models.schedules import Schedule
from utils.schedules.moments import next_moment

SCAN_SECONDS = 15.0
"""Longest pause between two looks. There is one at the begin of each minute, when moments are."""

LEASE = timedelta(seconds=60)
"""Time after which another server may take a schedule; more than one start takes."""

RETRY = timedelta(seconds=60)
"""Pause after a start for which there was no place. It is tried until the next moment comes."""

MAX_REFUSALS = 5
"""Moments without a task, one after the other, after which a schedule pauses itself."""

_BLOCKED = "The account of this user is banned or deleted."
_EXPIRED = "This user has expired."
_DEFECT = "The start failed because of a defect in this server; its log has the details."
_GONE = "The schedule names no further moment."

log = structlog.get_logger(__name__)


class Scheduler:
    """Looks for schedules that are due, in a thread. `start_task` starts the task of a moment."""

    def __init__(self, database: Database, start_task: Callable[[Schedule], None]) -> None:
        self._database = database
        self._start_task = start_task
        self._scan_seconds = SCAN_SECONDS
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)

    def start(self) -> None:
        """Start with what has become due while no server ran."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the task that is being started."""
        self._is_stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            try:
                self._start_all()
            except DatabaseUnavailable as error:
                reason = error.message
                log.warning("schedules wait", action="schedule.delayed", reason=reason)
            except Exception:
                log.exception("schedules crashed", action="schedule.crashed")
            self._is_stopping.wait(min(self._scan_seconds, 60 - time.time() % 60))

    def _start_all(self) -> None:
        while not self._is_stopping.is_set():
            schedule = self._database.claim_schedule(datetime.now(UTC) + LEASE)
            if schedule is None:
                return
            with structlog.contextvars.bound_contextvars(schedule_id=schedule.id):
                self._database.end_schedule_run(schedule, self._outcome(schedule))

    def _outcome(self, schedule: Schedule) -> Mapping[str, Any]:
        """Start the task of the moment that is due; return the columns to store."""
        following = _following(schedule)
        if schedule.started_for == schedule.next_run_at:
            return following
        try:
            self._require_user(schedule)
            self._start_task(schedule)
        except DatabaseUnavailable:
            raise
        except AppError as error:
            return self._without_task(schedule, error, following)
        except Exception:
            log.exception("start crashed", action="schedule.crashed")
            return self._refused(schedule, AppError(_DEFECT), following)
        log.info("scheduled task started", action="schedule.started")
        return following

    def _without_task(
        self, schedule: Schedule, error: AppError, following: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        if type(error) is Conflict and error.code == Conflict.default_code:
            # Another server has created the task, or the user has changed the schedule.
            return following
        later, moment = datetime.now(UTC) + RETRY, following["next_run_at"]
        is_temporary = isinstance(error, Unavailable | RateLimited | QueueFull)
        if is_temporary and (moment is None or later < moment):
            log.info("start put off", action="schedule.put_off", code=error.code)
            return {"claimed_until": later, **_reason(error)}
        return self._refused(schedule, error, following)

    def _require_user(self, schedule: Schedule) -> None:
        if schedule.is_blocked:
            raise Unauthenticated(_BLOCKED)
        end = self._database.get_user(schedule.user_id).expires_at
        if end is not None and end <= datetime.now(UTC):
            raise Unauthenticated(_EXPIRED)

    def _refused(
        self, schedule: Schedule, error: AppError, following: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        log.warning("start refused", action="schedule.refused", code=error.code)
        refusals = schedule.refusals + 1
        columns = {**following, **_reason(error), "refusals": refusals}
        if refusals < MAX_REFUSALS:
            return columns
        log.warning("schedule paused", action="schedule.paused", code=error.code)
        text = (
            f"Paused, because {refusals} starts in a row were refused. The last reason: "
            f"{columns['last_error']} When it is gone, send is_enabled: true."
        )
        return {**columns, "last_error": text, "is_enabled": False, "next_run_at": None}


def _reason(error: AppError) -> dict[str, str]:
    # As the answer to a request would say it.
    return {"last_error": error.message, "last_error_code": error.code}


def _following(schedule: Schedule) -> dict[str, Any]:
    """Return the columns for the first moment from now on; those that were missed are left out.

    The clock of the database, by which the schedule is due, may be before that of this server.
    """
    try:
        now = datetime.now(UTC)
        after = max(now, schedule.next_run_at or now)
        moment = next_moment(schedule.cron, schedule.time_zone, after)
    except ValueError:
        # The database of time zones has changed.
        moment = None
    if moment is None:
        return {"next_run_at": None, "is_enabled": False, "last_error": _GONE}
    return {"next_run_at": moment}
