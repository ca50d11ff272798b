"""Waits for conditions instead of fixed times."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

PATIENCE_SECONDS = 180.0
"""Ends a test that would wait for ever, even on a machine with many times its work to do."""

Ended = TypeVar("Ended")
Result = TypeVar("Result")


def eventually(condition: Callable[[], Result | None], seconds: float = PATIENCE_SECONDS) -> Result:
    """Call a function until it returns a true value; return that value. Fail after a time."""
    started = time.monotonic()
    while not (result := condition()):
        waited = time.monotonic() - started
        assert waited < seconds, f"still not so after {seconds} s: {condition}"
        time.sleep(_pause_after(waited))
    return result


def _pause_after(waited: float) -> float:
    # Each question takes time from what is waited for.
    return min(0.01 + waited / 4, 0.1)


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until the condition holds."""
    started = time.monotonic()
    while (waited := time.monotonic() - started) < PATIENCE_SECONDS:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return
        await asyncio.sleep(_pause_after(waited))
    pytest.fail("the condition did not come true")


async def cut_off(
    run: Callable[[float], Awaitable[Ended]], has_begun: Callable[[Ended], object]
) -> Ended:
    """Run an action that must time out; retry with more seconds if it had not started by then."""
    for seconds in (0.5, 2, 10):
        ended = await run(seconds)
        if has_begun(ended):
            break
    return ended


def process_state(pid: int) -> str:
    """Return the kernel's state letter of a process, such as R, S or T; empty if it has ended."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return status.rpartition(")")[2].split()[0]


def is_alive(pid: int) -> bool:
    """Return True when a process runs. A zombie counts as ended."""
    return process_state(pid) not in {"", "Z"}
