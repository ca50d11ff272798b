"""Tests of the time that an agent has to exit after it has reported its result."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import cast

import anyio
import pytest

from utils.agents.claude import ClaudeReader
from utils.models.runs import CommandResult
from utils.models.tasks import Json
from utils.pipeline.agent_output import OutputReporter
from utils.pipeline.agent_run import AgentEnd, AgentLimits, follow_agent
from utils.sandboxes.protocol import AgentCommand, OutputHandler, Sandbox

pytestmark = pytest.mark.anyio

GRACE_SECONDS = 1.0
SECONDS = 60
INIT: Json = {"type": "system", "subtype": "init", "session_id": "s", "model": "m"}
NO_TASKS: Json = {"type": "system", "subtype": "background_tasks_changed", "tasks": []}

Feed = Callable[[Json], Awaitable[None]]
Program = Callable[[Feed], Awaitable[None]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.pipeline.agent_run.RESULT_GRACE_SECONDS", GRACE_SECONDS)


class ProgramSandbox:
    """A sandbox that runs a coroutine in place of an agent's process."""

    def __init__(self, program: Program, exit_code: int) -> None:
        self._program = program
        self._exit_code = exit_code

    async def run_agent(
        self, _command: AgentCommand, *, timeout_seconds: float, on_output: OutputHandler
    ) -> CommandResult:
        async def feed(entry: Json) -> None:
            on_output("stdout", f"{json.dumps(entry)}\n".encode())
            await anyio.wait_all_tasks_blocked()

        assert timeout_seconds == SECONDS
        await self._program(feed)
        on_output("stderr", b"cannot save the session\n" if self._exit_code else b"")
        return CommandResult(self._exit_code, b"", b"")


async def follow(
    program: Program, idle_seconds: float = SECONDS, exit_code: int = 0
) -> tuple[AgentEnd, ClaudeReader]:
    """Follow a program that prints the output of Claude Code."""
    reader = ClaudeReader()
    output = OutputReporter(reader, lambda *_: None, 10**6, lambda text: text)
    sandbox = cast("Sandbox", ProgramSandbox(program, exit_code))
    limits = AgentLimits(SECONDS, idle_seconds, 10**6)
    with anyio.fail_after(SECONDS):
        end = await follow_agent(sandbox, AgentCommand(["claude"], "/"), reader, output, limits)
    return end, reader


def result(text: str) -> Json:
    return {"type": "result", "subtype": "success", "is_error": False, "result": text}


async def go_on(feed: Feed) -> None:
    """Report a result just after a background command has ended, then continue."""
    for entry in (INIT, NO_TASKS, result("It builds."), INIT):
        await feed(entry)


async def test_an_agent_that_goes_on_after_its_result_may_take_its_time() -> None:
    async def work(feed: Feed) -> None:
        await go_on(feed)
        await anyio.sleep(2 * GRACE_SECONDS)
        await feed(result("It is built."))

    end, reader = await follow(work)
    assert end == AgentEnd(0, None)
    assert reader.summary == "It is built."


async def test_an_agent_that_goes_on_and_falls_silent_is_ended() -> None:
    async def hang(feed: Feed) -> None:
        await go_on(feed)
        await anyio.sleep_forever()

    end, _ = await follow(hang, idle_seconds=0.1)
    assert end.exit_code is None
    assert end.failure is not None
    assert end.failure.code == "agent_timeout"
    assert "AGENT_IDLE_SECONDS" in end.failure.message


async def test_an_agent_that_goes_on_and_stays_after_its_last_result_is_ended() -> None:
    async def stay(feed: Feed) -> None:
        await go_on(feed)
        await feed(result("It is built."))
        await anyio.sleep_forever()

    end, reader = await follow(stay)
    assert end == AgentEnd(None, None)
    assert reader.summary == "It is built."


async def test_an_agent_that_succeeded_and_then_failed_to_end_leaves_a_note() -> None:
    async def work(feed: Feed) -> None:
        await feed(INIT)
        await feed(result("It is built."))

    end, _ = await follow(work, exit_code=3)
    [note] = end.notes
    assert (end.exit_code, end.failure) == (3, None)
    assert note.endswith(" ended with exit code 3: cannot save the session")


async def test_output_counts_as_work_unless_it_says_that_the_agent_waits() -> None:
    retry = {"type": "system", "subtype": "api_retry", "attempt": 1, "max_retries": 4}
    said = {"type": "assistant", "message": {"content": [{"type": "text", "text": "I look."}]}}
    waits, works = (f"{json.dumps(entry)}\n".encode() for entry in (retry, said))
    output = OutputReporter(ClaudeReader(), lambda *_: None, 10**6, lambda text: text)
    for piece, is_work in (
        (works, True),
        (waits, False),
        (waits * 2, False),
        (waits + works, True),
        (works + waits, True),
        (works[:9], True),
    ):
        before = output.last_output_at
        await anyio.sleep(0.001)
        output.feed("stdout", piece)
        assert (output.last_output_at > before) is is_work
