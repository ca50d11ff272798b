"""Runs the backend's own commands in one cloud sandbox, and tracks interrupted ones."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import anyio
from e2b import AsyncCommandHandle, AsyncSandbox, CommandExitException
from e2b.exceptions import (
    SandboxNotRunningException,
    SandboxUnreachableException,
    TimeoutException,
)

from utils.models.runs import KILLED, CommandResult
from utils.sandboxes.e2b.shell import FIRST_FOLDER, HOME, NO_HOME
from utils.sandboxes.protocol import OutputHandler

REQUEST_SECONDS = 30.0
"""Limit for one request and for the start of a command, not for the command itself."""

START_WAIT_SECONDS = 2.0
CAPTURED_OUTPUT_CHARACTERS = 1_000_000

CLOCK_SECONDS = 0.1
"""Tolerance between the clocks of the sandbox and of this machine."""


class Commands:
    """Runs the commands of one sandbox.

    In the cloud a command continues without a listener, and at its timeout only its first process
    is killed (docs/e2b.md section 5). Each command leads a session of its own, so that all of its
    processes can be killed before the next command runs.
    """

    def __init__(self, sandbox: AsyncSandbox) -> None:
        self._sandbox = sandbox
        self._unfinished: set[int] = set()
        self._abandoned: set[asyncio.Task[None]] = set()

    async def run(
        self,
        text: str,
        variables: Mapping[str, str],
        timeout_seconds: float,
        on_text: Callable[[str, str], Awaitable[None] | None],
        on_start: Callable[[], None] = lambda: None,
    ) -> int:
        """Run shell text and return its exit code, -1 after any signal. A timeout of 0 means none.

        The SDK reads on when what `on_text` returns has ended.
        Raises the exceptions of the SDK.
        """
        handle = await self._start(
            f'export HOME="{HOME}"; {text}',
            background=True,
            cwd=FIRST_FOLDER,
            envs={**variables, "HOME": NO_HOME},
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
            exit_code = error.exit_code
        finally:
            # A cancel of `wait` has ended the stream before.
            await handle.disconnect()
        self._unfinished.discard(handle.pid)
        return exit_code

    async def collect(
        self,
        text: str,
        variables: dict[str, str],
        timeout_seconds: float,
        on_start: Callable[[], None] = lambda: None,
        handler: OutputHandler | None = None,
    ) -> CommandResult:
        """Run shell text as `run` does and return what it printed, or pass that to the handler.

        Raises the exceptions of the SDK, but not that of a timeout.
        """
        pieces: dict[str, list[str]] = {"stdout": [], "stderr": []}
        left = {"stdout": CAPTURED_OUTPUT_CHARACTERS, "stderr": CAPTURED_OUTPUT_CHARACTERS}

        def take(stream: str, piece: str) -> None:
            if handler is not None:
                handler(stream, piece.encode())
            elif left[stream] > 0:
                pieces[stream].append(piece[: left[stream]])
                left[stream] -= len(piece)

        timed_out = False
        over_at = anyio.current_time() + timeout_seconds - CLOCK_SECONDS
        try:
            exit_code = await self.run(text, variables, timeout_seconds, take, on_start)
        except (SandboxNotRunningException, SandboxUnreachableException):
            raise
        except TimeoutException:
            # A timeout of a gateway raises the same exception.
            if anyio.current_time() < over_at:
                raise
            exit_code, timed_out = -1, True
        if exit_code < 0 and not timed_out:
            exit_code = KILLED
        stdout, stderr = ("".join(pieces[name]).encode() for name in ("stdout", "stderr"))
        return CommandResult(exit_code, stdout, stderr, timed_out)

    async def _start(self, text: str, **options: Any) -> AsyncCommandHandle:
        # When the SDK is cancelled here it leaves a broken task behind, and the command may be
        # running already: its process id is needed to kill it.
        start = asyncio.ensure_future(self._sandbox.commands.run(text, **options))
        try:
            return await asyncio.shield(start)
        except asyncio.CancelledError:
            abandoned = asyncio.ensure_future(self._abandon(start))
            self._abandoned.add(abandoned)
            abandoned.add_done_callback(self._abandoned.discard)
            raise

    async def _abandon(self, start: asyncio.Future[AsyncCommandHandle]) -> None:
        # A command that did not start, for whatever reason, needs no end.
        with suppress(Exception):
            handle = await start
            self._unfinished.add(handle.pid)
            await handle.disconnect()

    async def pop_kill_command(self) -> str:
        """Return shell text that kills the interrupted commands, once; empty without any."""
        if self._abandoned:
            await asyncio.wait(self._abandoned)
        numbers, self._unfinished = self._unfinished, set()
        return "".join(f"kill -9 -- -{pid} {pid} 2>/dev/null; " for pid in numbers)

    async def wait_for_starts(self) -> None:
        """Wait for commands whose start was interrupted, in a sandbox that is gone."""
        if self._abandoned:
            await asyncio.wait(self._abandoned, timeout=START_WAIT_SECONDS)
