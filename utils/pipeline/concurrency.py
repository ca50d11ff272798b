"""Runs two parts of a task at the same time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio

from utils.errors import TaskError


@asynccontextmanager
async def running_beside(work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run `work` while the block runs, and wait for it at the end of the block.

    The first `TaskError` of the two cancels the other one and is raised by itself, not in a group.
    """
    failures: list[TaskError] = []

    async def run() -> None:
        try:
            await work()
        except TaskError as error:
            fail(error)

    def fail(error: TaskError) -> None:
        failures.append(error)
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        try:
            yield
        except TaskError as error:
            fail(error)
    if failures:
        raise failures[0]
