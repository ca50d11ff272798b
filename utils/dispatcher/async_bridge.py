"""Runs the event loop of this process, in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import ExitStack
from typing import TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

Result = TypeVar("Result")

NOT_RUNNING = "the async bridge is not running"


class AsyncBridge:
    """Runs coroutines on the event loop for synchronous threads.

    No blocking call may run on the loop.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start the thread of the loop."""
        self._portal = self._stack.enter_context(
            start_blocking_portal("asyncio", name="async-bridge")
        )
        self._portal.call(_use_child_watcher_without_threads)
        self._loop = self._portal.call(asyncio.get_running_loop)

    def stop(self) -> None:
        """Wait for the running coroutines, then end the thread of the loop."""
        self._portal = self._loop = None
        self._stack.close()

    def run(self, function: Callable[..., Awaitable[Result]], *arguments: object) -> Result:
        """Run a coroutine function on the loop; return its result or re-raise its exception."""
        return self._running_portal.call(function, *arguments)

    def start_soon(
        self, function: Callable[..., Awaitable[Result]], *arguments: object
    ) -> Future[Result]:
        """Start a coroutine function on the loop; return without waiting for its result."""
        return self._running_portal.start_task_soon(function, *arguments)

    def call_soon(self, function: Callable[..., object], *arguments: object) -> None:
        """Have the loop call a function that does not block; return without waiting for it."""
        if self._loop is None:
            raise RuntimeError(NOT_RUNNING)
        self._loop.call_soon_threadsafe(function, *arguments)

    @property
    def _running_portal(self) -> BlockingPortal:
        if self._portal is None:
            raise RuntimeError(NOT_RUNNING)
        return self._portal


def _use_child_watcher_without_threads() -> None:
    # Python 3.11 starts a thread for each subprocess by default. Later versions use process file
    # descriptors where the system has them.
    if sys.version_info < (3, 12) and _has_process_descriptors():
        asyncio.set_child_watcher(_ChildWatcher())


def _has_process_descriptors() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


if sys.version_info < (3, 12):

    class _ChildWatcher(asyncio.PidfdChildWatcher):
        """Waits for each process on the loop that started it, as Python 3.12 does."""

        def is_active(self) -> bool:
            return True

        def add_child_handler(
            self, pid: int, callback: Callable[..., object], *args: object
        ) -> None:
            loop = asyncio.get_running_loop()
            descriptor = os.pidfd_open(pid)
            loop.add_reader(descriptor, _reap, loop, descriptor, pid, callback, args)


def _reap(
    loop: asyncio.AbstractEventLoop,
    descriptor: int,
    pid: int,
    callback: Callable[..., object],
    arguments: tuple[object, ...],
) -> None:
    loop.remove_reader(descriptor)
    os.close(descriptor)
    try:
        exit_code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        exit_code = 255  # already reaped by another caller; asyncio reports the same code
    callback(pid, exit_code, *arguments)
