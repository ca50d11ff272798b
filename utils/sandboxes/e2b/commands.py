"""Runs shell text of ours in one cloud sandbox, and knows what of it was interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import anyio
from e2b import AsyncCommandHandle, AsyncSandbox, CommandExitException

from utils.models.runs import KILLED

REQUEST_SECONDS = 30.0
"""Limit for one request and for the start of a command; not for how long the command runs."""

SETTLE_SECONDS = 2.0


class Commands:
    """The commands of one sandbox.

    In the cloud a command runs on when nobody listens any more, and when its time is over only its
    first process is ended (docs/e2b.md section 5). Each is the leader of a session of its own, so
    that it can be ended as a whole before the next one runs.
    """

    def __init__(self, sandbox: AsyncSandbox) -> None:
        self._sandbox = sandbox
        self._unfinished: set[int] = set()
        self._leaving: set[asyncio.Task[None]] = set()

    async def run(
        self,
        text: str,
        variables: Mapping[str, str],
        timeout_seconds: float,
        on_text: Callable[[str, str], None],
        on_start: Callable[[], None] = lambda: None,
    ) -> int:
        """Run text and return its exit code; 0 seconds are no limit. Raises what the SDK raises."""
        handle = await self._start(
            text,
            background=True,
            envs=dict(variables),
            timeout=timeout_seconds,
            request_timeout=REQUEST_SECONDS,
            on_stdout=lambda piece: on_text("stdout", piece),
            on_stderr=lambda piece: on_text("stderr", piece),
            retain_output=False,
        )
        self._unfinished.add(handle.pid)
        on_start()
        exit_code = 0
        try:
            await handle.wait()
        except CommandExitException as error:
            # E2B has -1 for all signals, and words that tell which.
            exit_code = KILLED if error.exit_code < 0 else error.exit_code
        finally:
            with anyio.CancelScope(shield=True):
                await handle.disconnect()
        self._unfinished.discard(handle.pid)
        return exit_code

    async def _start(self, text: str, **options: Any) -> AsyncCommandHandle:
        # The SDK leaves a broken task behind when it is cancelled here, and the command may be
        # running already: its number has to be known.
        start = asyncio.ensure_future(self._sandbox.commands.run(text, **options))
        try:
            return await asyncio.shield(start)
        except asyncio.CancelledError:
            leaving = asyncio.ensure_future(self._leave(start))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
            raise

    async def _leave(self, start: asyncio.Future[AsyncCommandHandle]) -> None:
        # A command that did not start, for whatever reason, needs no end.
        with suppress(Exception):
            handle = await start
            self._unfinished.add(handle.pid)
            await handle.disconnect()

    async def ending_of_interrupted(self) -> str:
        """Return the text that ends what was interrupted; empty when nothing was."""
        if self._leaving:
            await asyncio.wait(self._leaving)
        numbers, self._unfinished = self._unfinished, set()
        return "".join(f"kill -9 -- -{pid} {pid} 2>/dev/null; " for pid in numbers)

    async def settle(self) -> None:
        """Wait for what is still being started in a sandbox that is gone."""
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=SETTLE_SECONDS)
