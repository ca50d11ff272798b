"""Runs an agent to its end, enforces its time limits and determines its result."""

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
"""Time for an agent to exit after it has reported its result."""

MINIMUM_SECONDS = 10.0
"""Least time for an agent after a restart; an end during the downtime can then be read."""


@dataclass(frozen=True, slots=True)
class AgentLimits:
    """Limits of an agent: its running time, its time without output, and its stored output."""

    seconds: float
    idle_seconds: float
    output_bytes: int


@dataclass(frozen=True, slots=True)
class AgentEnd:
    """The end of an agent. The exit code is None when the agent did not exit by itself."""

    exit_code: int | None
    failure: TaskError | None
    notes: tuple[str, ...] = ()


async def follow_agent(
    sandbox: Sandbox,
    command: AgentCommand,
    reader: StreamReader,
    output: OutputReporter,
    limits: AgentLimits,
    age_seconds: float = 0.0,
) -> AgentEnd:
    """Run the agent, or resume one that was started `age_seconds` ago, to its end.

    Raises `SandboxError` when the sandbox is lost. In that case, and on cancellation, `output` is
    not closed: a process that resumes the agent reads the incomplete line as a whole.
    """
    timeout_seconds = limits.seconds - age_seconds
    if age_seconds:
        timeout_seconds = max(timeout_seconds, MINIMUM_SECONDS)
    watchdog = _Watchdog(output, limits.idle_seconds)
    exit_code, timed_out = None, False
    async with watchdog.guard():
        result = await sandbox.run_agent(
            command, timeout_seconds=timeout_seconds, on_output=output.feed
        )
        timed_out = result.timed_out
        exit_code = None if timed_out else result.exit_code
    output.close()
    failure = _failure(watchdog, reader, exit_code, output, timed_out=timed_out)
    notes = (_exit_note(exit_code, output.last_error_line),) if exit_code and not failure else ()
    return AgentEnd(exit_code, failure, notes)


def _exit_note(exit_code: int, last_error_line: str) -> str:
    detail = f": {last_error_line}" if last_error_line else "."
    return f"The agent reported its success and then ended with exit code {exit_code}{detail}"


def _failure(
    watchdog: _Watchdog,
    reader: StreamReader,
    exit_code: int | None,
    output: OutputReporter,
    *,
    timed_out: bool,
) -> TaskError | None:
    # The agent may have reported its result and still wait for a command in the background.
    has_result = reader.finished or reader.summary is not None
    if watchdog.is_idle_too_long and not has_result:
        return _timeout_error("had no new output for AGENT_IDLE_SECONDS")
    if timed_out and not has_result:
        return _timeout_error("was still running after AGENT_TIMEOUT_SECONDS")
    return reader.judge(exit_code, output.last_error_line)


class _Watchdog:
    """Ends an agent that exceeds a time limit."""

    def __init__(self, output: OutputReporter, idle_seconds: float) -> None:
        self.is_idle_too_long = False
        self._output = output
        self._idle_seconds = idle_seconds

    @asynccontextmanager
    async def guard(self) -> AsyncIterator[None]:
        """Cancel the block when the agent has to be ended; re-raise the error of the block."""
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
                self.is_idle_too_long = True
                scope.cancel()
                return
            else:
                await anyio.sleep_until(silent_until)

    async def _end_finished(self, scope: anyio.CancelScope) -> None:
        while True:
            finished = self._output.finished
            await finished.wait()
            await anyio.sleep(RESULT_GRACE_SECONDS)
            # Another event has replaced it if the agent continued after reporting its result.
            if self._output.finished is finished:
                scope.cancel()
                return


def _timeout_error(cause: str) -> AgentError:
    return AgentError(
        f"The agent {cause} and was ended. Its changes up to then are stored. Raise the limit, or "
        "ask for less in one task.",
        "agent_timeout",
    )
