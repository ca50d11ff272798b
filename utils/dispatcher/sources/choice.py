"""Decides once, at the start of a process, where its tasks come from.

All servers of a database have to agree: a task that one of them runs by itself would be given to
another one by the engine, and done twice. So a server follows those that are at work already.
"""

from __future__ import annotations

import time
from datetime import timedelta

import structlog

from database import Database
from utils.config.settings import Settings
from utils.config.version import VERSION
from utils.database.engine_schema import explain_version, is_usable
from utils.dispatcher.sources.heartbeats import HEARTBEATS_PER_TIMEOUT
from utils.errors import ConfigurationError
from utils.models.engine import EngineChoice

LONGEST_WATCH_SECONDS = 60.0
"""Longest time to find out whether servers have ended. With more silence they count as at work."""

log = structlog.get_logger(__name__)


def settle_task_engine(settings: Settings, database: Database, *, must: bool = False) -> Settings:
    """Return the settings with `own` or `absurd` in place of `auto` as the `task_engine`.

    With `must` the engine has to be used. Blocks while it is not known whether other servers have
    ended. Raises `DatabaseUnavailable`, and `ConfigurationError` for an engine that must be used
    and cannot.
    """
    if settings.task_engine != "auto":
        return settings
    engine = "absurd" if database.is_shared and _joins(settings, database, must=must) else "own"
    return settings.model_copy(update={"task_engine": engine})


def longest_silence(settings: Settings) -> timedelta:
    """Return the time within which a worker that is at work was seen."""
    return timedelta(seconds=2 * settings.server_silence_seconds)


def _joins(settings: Settings, database: Database, *, must: bool) -> bool:
    while True:
        choice = _watch(settings, database)
        if choice.uses_engine:
            log.info("task engine used", action="engine.used", version=choice.version)
            return True
        if must:
            raise ConfigurationError(_reason(choice))
        if not database.leave_engine(longest_silence(settings)):
            log.warning("task engine not used", action="engine.not_used", reason=_reason(choice))
            return False
        if not is_usable(choice.version):
            # Workers are at work with what this version cannot use.
            raise ConfigurationError(_reason(choice))
        # A worker has started meanwhile.


def _watch(settings: Settings, database: Database) -> EngineChoice:
    """Use the engine as soon as the servers that run their own tasks have ended, or give up.

    One that is at work sends another heartbeat meanwhile. Clocks are not compared.
    """
    version = VERSION if settings.work else None
    most, silence = settings.max_tasks_per_user, settings.server_silence_seconds
    pause = silence / HEARTBEATS_PER_TIMEOUT
    first = choice = database.join_engine(most, longest_silence(settings), {}, version)
    if choice.uses_engine or not is_usable(choice.version) or silence > LONGEST_WATCH_SECONDS:
        return choice
    names = sorted(first.servers)
    log.info("waiting for heartbeats of other servers", action="engine.watching", servers=names)
    ends_at = time.monotonic() + silence + pause
    while time.monotonic() < ends_at:
        time.sleep(pause)
        choice = database.join_engine(most, longest_silence(settings), {}, version)
        if choice.uses_engine or choice.servers.items() - first.servers.items():
            return choice
    return database.join_engine(most, longest_silence(settings), first.servers, version)


def _reason(choice: EngineChoice) -> str:
    if not is_usable(choice.version):
        return explain_version(choice.version)
    return (
        f"Servers of this database ({len(choice.servers)}) run the tasks that they are sent. Stop "
        "all servers once, then start them: they use the task engine from then on."
    )
