"""Runs an agent to its end, watches over it, and judges how it went."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from utils.agents.spec import StreamReader
from utils.errors import AgentError, TaskError
from utils.pipeline.agent_output import OutputReporter
from utils.sandboxes.protocol import AgentCommand, Sandbox

RESULT_GRACE_SECONDS = 5.0
"""Grace time for an agent to exit after its final message."""

MINIMUM_SECONDS = 10.0
"""Minimum time of an agent after a restart, to read the end it may have reached meanwhile."""


@dataclass(frozen=True, slots=True)
class AgentLimits:
    """Limits of an agent: total time, time without output, and stored output."""

    seconds: float
    idle_seconds: float
    output_bytes: int


@dataclass(frozen=True, slots=True)
class AgentEnd:
    """The end of an agent's run; the exit code is None if it was stopped."""

    exit_code: int | None
    failure: TaskError | None


async def follow_agent(
    sandbox: Sandbox,
    command: AgentCommand,
    reader: StreamReader,
    output: OutputReporter,
    limits: AgentLimits,
    age_seconds: float = 0.0,
) -> AgentEnd:
    """Run the agent, or go on with one that is `age_seconds` old, to its end.

    Raises `SandboxError` when the sandbox is gone. Then, and when it is cancelled, closing `output`
    is left to the caller: whoever goes on with the agent will see the unfinished line whole.
    """
    timeout_seconds = limits.seconds - age_seconds
    if age_seconds:
        timeout_seconds = max(timeout_seconds, MINIMUM_SECONDS)
    watch = _Watch(output, limits.idle_seconds)
    exit_code, timed_out = None, False
    async with watch.over():
        result = await sandbox.run_agent(
            command, timeout_seconds=timeout_seconds, on_output=output.feed
        )
        timed_out = result.timed_out
        exit_code = None if timed_out else result.exit_code
    output.close()
    return AgentEnd(exit_code, _failure(watch, reader, exit_code, output, timed_out=timed_out))


def _failure(
    watch: _Watch,
    reader: StreamReader,
    exit_code: int | None,
    output: OutputReporter,
    *,
    timed_out: bool,
) -> TaskError | None:
    # It may wait for a command in the background when it has said what it did.
    said_done = reader.finished or reader.summary is not None
    if watch.hung and not said_done:
        return _too_long("printed nothing new for AGENT_IDLE_SECONDS")
    if timed_out and not said_done:
        return _too_long("was still running after AGENT_TIMEOUT_SECONDS")
    return reader.judge(exit_code, output.last_error_line)


class _Watch:
    """Ends an agent that does not end by itself."""

    def __init__(self, output: OutputReporter, idle_seconds: float) -> None:
        self.hung = False
        self._output = output
        self._idle_seconds = idle_seconds

    @asynccontextmanager
    async def over(self) -> AsyncIterator[None]:
        """Cancel the block when the agent has to be ended; the block's own error comes through."""
        failure: TaskError | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._end_silent, tasks.cancel_scope)
            tasks.start_soon(self._end_finished, tasks.cancel_scope)
            try:
                yield
            except TaskError as error:
                failure = error
            tasks.cancel_scope.cancel()
        if failure:
            raise failure

    async def _end_silent(self, scope: anyio.CancelScope) -> None:
        while True:
            silent_until = self._output.last_output_at + self._idle_seconds
            if self._output.finished.is_set():
                await anyio.sleep(RESULT_GRACE_SECONDS)
            elif anyio.current_time() >= silent_until:
                self.hung = True
                scope.cancel()
                return
            else:
                await anyio.sleep_until(silent_until)

    async def _end_finished(self, scope: anyio.CancelScope) -> None:
        while True:
            finished = self._output.finished
            await finished.wait()
            await anyio.sleep(RESULT_GRACE_SECONDS)
            # There is another event when the agent went on after it had said that it is done.
            if self._output.finished is finished:
                scope.cancel()
                return


def _too_long(what: str) -> AgentError:
    return AgentError(
        f"The agent {what} and was ended. What it had changed until then is kept. Raise the limit, "
        "or ask for less in one task.",
        "agent_timeout",
    )
