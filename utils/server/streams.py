"""Responses that are made bit by bit on the event loop, such as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable


async def send_stream(body: AsyncIterable[bytes], send: Callable[[bytes], Awaitable[None]]) -> None:
    """Send each part of a body until its end, or until this task is cancelled.

    A cancelled stream counts as ended. The iterator and the body are closed in any case.
    """
    iterator = aiter(body)
    try:
        async for part in iterator:
            if part:  # an empty chunk would end the response
                await send(part)
    except asyncio.CancelledError:
        pass
    finally:
        await _close(iterator)
        if iterator is not body:
            await _close(body)


def discard_stream(body: object) -> None:
    """Close a body that nobody will read."""
    if not isinstance(body, bytes):
        task = asyncio.get_running_loop().create_task(_close(body))
        _discarded.add(task)
        task.add_done_callback(_discarded.discard)


async def _close(body: object) -> None:
    if hasattr(body, "aclose"):
        await body.aclose()
    elif hasattr(body, "close"):
        body.close()


# The event loop itself does not keep tasks alive.
_discarded: set[asyncio.Task[None]] = set()
