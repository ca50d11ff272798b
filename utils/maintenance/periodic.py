"""Repeats the jobs of a server that run beside its tasks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import structlog

from utils.errors import AppError

log = structlog.get_logger(__name__)


async def run_periodically(
    job: str, step: Callable[[], Awaitable[object]], pause_seconds: float
) -> None:
    """Repeat a step until cancelled, with a pause after each; a step that fails is repeated too.

    The log names the job. An unexpected error is logged as well: it must not end the tasks that
    run on the same loop.
    """
    while True:
        try:
            await step()
        except AppError as error:
            log.warning("job failed", action="job.failed", job=job, reason=error.message)
        except Exception:
            log.exception("job crashed", action="job.crashed", job=job)
        await anyio.sleep(pause_seconds)
