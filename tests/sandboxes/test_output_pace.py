"""Tests that a flood of output leaves the event loop to the other tasks."""

from __future__ import annotations

import time
from types import SimpleNamespace

import anyio
import pytest

from utils.sandboxes import output_pace
from utils.sandboxes.output_pace import LARGEST_SLICE, SHARE, OutputPace

pytestmark = pytest.mark.anyio

FLOODS = 4
SECONDS = 0.4


def work(_stream: str, data: bytes) -> None:
    """Take the processor time of a reader of many short lines."""
    end = time.thread_time() + len(data) * 1e-6
    while time.thread_time() < end:
        pass


async def test_floods_take_their_share_of_the_time_together() -> None:
    longest = busy = 0.0

    def handler(stream: str, data: bytes) -> None:
        nonlocal longest, busy
        started = time.thread_time()
        work(stream, data)
        seconds = time.thread_time() - started
        longest, busy = max(longest, seconds), busy + seconds

    async def flood() -> None:
        pace = OutputPace()
        while True:
            await pace.pass_on(handler, "stdout", bytes(LARGEST_SLICE))

    started = time.monotonic()
    with anyio.move_on_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            for _ in range(FLOODS):
                tasks.start_soon(flood)
    first_slices = FLOODS * LARGEST_SLICE * 1e-6
    assert busy < 2 * SHARE * (time.monotonic() - started) + first_slices
    assert longest < 2 * LARGEST_SLICE * 1e-6


async def test_the_end_of_the_output_is_not_delayed(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    # Not in anyio itself: servers of other tests may run in this process.
    monkeypatch.setattr(output_pace, "anyio", SimpleNamespace(sleep=rest))
    pace, received = OutputPace(), bytearray()

    def handler(_stream: str, data: bytes) -> None:
        work("", data)
        received.extend(data)

    data = bytes(LARGEST_SLICE)
    await pace.pass_on(handler, "stdout", data)
    assert rests
    rests.clear()
    pace.is_hurried = True
    await pace.pass_on(handler, "stdout", data)
    assert not rests
    assert received == 2 * data
