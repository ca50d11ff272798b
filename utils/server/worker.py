"""Runs tasks without HTTP: a process that asks the task engine of the database for them."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

import structlog

from utils.api.endpoint import Services
from utils.config.settings import Settings
from utils.config.version import VERSION
from utils.credentials.key_check import KEY_DIFFERS, KEY_REMEDY, reads_no_secret
from utils.errors import AppError, ConfigurationError
from utils.server.group.parent_link import ParentLink
from utils.server.stop_signals import StopSignals
from utils.server.web_server import EXIT_STUCK, built, end_if_stuck, print_line
from utils.server.worker_metrics import open_metrics_port

CHECK_SECONDS = 1.0
"""Time between two checks that the dispatcher still works."""

log = structlog.get_logger(__name__)


def check_worker(settings: Settings) -> None:
    """Raise `ConfigurationError` for settings with which a worker would get no task, or fail it."""
    if not settings.may_use_engine:
        raise ConfigurationError(
            "workers need a database that they share with the server, and its task engine: set "
            "DATABASE_URL, or SUPABASE_URL and SUPABASE_SERVICE_ROLE_KEY, as the server has them, "
            "and remove TASK_ENGINE=own"
        )
    if settings.secret_key is None:
        raise ConfigurationError(
            "it cannot decrypt the tokens of users. Set SECRET_KEY to that of the server, which "
            "keeps a generated one in its DATA_DIR"
        )


def work(settings: Settings, build: Callable[[], Services], link: ParentLink | None = None) -> None:
    """Run the tasks of the engine with the services that `build` starts, until a signal.

    Running tasks then get their grace time, and go back to the engine. A second signal does not
    wait for them any longer: the engine gives them to others when their leases are over. With a
    `link` this is one of the processes of a server.
    """
    signals = StopSignals()
    signals.receive()
    if link:
        link.obey(signals)
    metrics = None if link else built("worker", lambda: open_metrics_port(settings))
    services = built("worker", build, link)
    if metrics:
        metrics.serve(services)
    stopping = threading.Event()
    signals.forward_to(stopping.set)
    _announce(services, link)
    _check_key(services)
    while not stopping.wait(CHECK_SECONDS) and services.dispatcher.is_working:
        pass
    has_failed = not stopping.is_set()
    signals.forward_to(lambda: os._exit(EXIT_STUCK))
    end_if_stuck(settings)
    services.stop()
    if has_failed:
        # Whoever looks after this process starts it again.
        sys.exit(EXIT_STUCK)


def _check_key(services: Services) -> None:
    """Say so when this worker would fail the tasks of users for want of their secrets."""
    with suppress(AppError):
        if reads_no_secret(services.database, services.vault):
            log.warning(KEY_DIFFERS, action="worker.key_differs", reason=KEY_REMEDY)


def _announce(services: Services, link: ParentLink | None) -> None:
    database, sandbox = services.database.kind, services.dispatcher.sandbox_kind
    log.info(
        "worker started",
        action="worker.started",
        version=VERSION,
        worker=services.database.server,
        sandbox=sandbox,
        database=database,
    )
    if link:
        link.wake(services.dispatcher.look_for_tasks)
        link.report_ready(sandbox, database)
    else:
        print_line(f"Working (version {VERSION}, sandbox: {sandbox}, database: {database})")
