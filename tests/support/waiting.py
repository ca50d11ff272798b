"""Waiting for conditions instead of for time to pass."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

PATIENCE_SECONDS = 60.0

Ended = TypeVar("Ended")


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Return when the condition holds."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the condition did not come true")


async def cut_off(
    run: Callable[[float], Awaitable[Ended]], has_begun: Callable[[Ended], object]
) -> Ended:
    """Run what takes longer than the seconds it is given; with more if it had not begun by then."""
    for seconds in (0.5, 2, 10):
        ended = await run(seconds)
        if has_begun(ended):
            break
    return ended


def process_state(pid: int) -> str:
    """Return the letter the kernel gives a process: R, S, T for stopped; empty when it is gone."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return status.rpartition(")")[2].split()[0]


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that is dead but not collected does not."""
    return process_state(pid) not in {"", "Z"}
