"""The one event loop, in one thread, for the life of the process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import ExitStack
from typing import TypeVar

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

Result = TypeVar("Result")


class AsyncBridge:
    """Lets synchronous Flask threads run coroutines on the loop. No blocking call may run there."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None

    def start(self) -> None:
        """Start the loop's thread."""
        self._portal = self._stack.enter_context(
            start_blocking_portal("asyncio", name="async-bridge")
        )
        self._portal.call(_use_child_watcher_without_threads)

    def stop(self) -> None:
        """Wait for what still runs on the loop, then end its thread."""
        self._portal = None
        self._stack.close()

    def run(self, function: Callable[..., Awaitable[Result]], *arguments: object) -> Result:
        """Run a coroutine function on the loop and wait for its result; re-raises its error."""
        return self._running_portal.call(function, *arguments)

    def start_soon(
        self, function: Callable[..., Awaitable[Result]], *arguments: object
    ) -> Future[Result]:
        """Start a coroutine function on the loop and return at once."""
        return self._running_portal.start_task_soon(function, *arguments)

    def call_soon(self, function: Callable[..., object], *arguments: object) -> None:
        """Have the loop call a function that does not wait for anything."""
        self._running_portal.start_task_soon(_call, function, arguments)

    @property
    def _running_portal(self) -> BlockingPortal:
        if self._portal is None:
            raise RuntimeError("the async bridge is not running")
        return self._portal


async def _call(function: Callable[..., object], arguments: tuple[object, ...]) -> None:
    function(*arguments)
    await anyio.lowlevel.checkpoint()


def _use_child_watcher_without_threads() -> None:
    # Python 3.11 starts a thread for each subprocess unless told otherwise; later versions use
    # process file descriptors by themselves where the system has them.
    if sys.version_info < (3, 12) and hasattr(asyncio, "PidfdChildWatcher"):
        watcher = asyncio.PidfdChildWatcher()
        watcher.attach_loop(asyncio.get_running_loop())
        asyncio.set_child_watcher(watcher)
