"""Holds back the answer to a poll until its task changes, on the event loop and without a thread.

A view returns the response of `held_back`. The web server waits, and then calls the application
with the same request again, which answers with what there is then.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from flask import Response, request

from utils.errors import AppError
from utils.streams.reading import StreamContext

MAX_WAIT_SECONDS = 30
"""The longest time for which a client may ask."""

MAX_WAITS_OF_USER = 50
"""Requests of one user that wait at the same time; further ones are answered at once."""

AGAIN_SECONDS = 2
"""Time after which a client polls again whose request could not wait."""

LOOK_SECONDS = 5.0
"""Time between two looks at a task of which no change is told; its place in the queue has none."""

MAY_WAIT_KEY = "async_code.may_wait"
"""Key in the environ of a request whose answer the web server can hold back."""

IsSame = Callable[[], bool]


class HeldBack:
    """The body of a response that is not sent: what its client waits for."""

    def __init__(
        self, context: StreamContext, user_id: str, task_id: int, seconds: float, is_same: IsSame
    ) -> None:
        self._context = context
        self._user_id = user_id
        self._task_id = task_id
        self._seconds = seconds
        self._is_same = is_same

    async def wait(self) -> None:
        """Return when `is_same` is no longer true, or after the time that the client gave."""
        ends_at = time.monotonic() + self._seconds
        context = self._context
        listening = context.changes.subscribe(task_id=self._task_id)
        with context.waiting(self._user_id), listening as subscription:
            while (seconds := ends_at - time.monotonic()) > 0:
                try:
                    if not await context.read(self._is_same):
                        return
                except AppError:  # the second call answers with it
                    return
                await subscription.wait(min(seconds, LOOK_SECONDS))


def held_back(
    response: Response,
    context: StreamContext,
    user_id: str,
    task_id: int,
    seconds: float,
    is_same: IsSame,
) -> Response:
    """Return a response that is held back while `is_same`, or the given one if it cannot wait."""
    if not seconds or MAY_WAIT_KEY not in request.environ:
        return response
    if context.has_room(user_id, MAX_WAITS_OF_USER):
        body = HeldBack(context, user_id, task_id, seconds, is_same)
        return Response(body, direct_passthrough=True)  # type: ignore[arg-type]
    response.headers["Retry-After"] = str(AGAIN_SECONDS)
    return response
