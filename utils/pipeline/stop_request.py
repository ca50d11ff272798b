"""Stops a running pipeline at the request of the dispatcher."""

from __future__ import annotations

import math

import anyio

from utils.errors import TaskStopped

CANCELLED_CAPTURE_SECONDS = 1.2
"""Time to capture a repository after a task in the cloud was cancelled, where time costs money."""


class StopRequest:
    """Ends the clone or the agent; the changes made so far are still captured.

    `abandoned` is True when the changes are not captured either.
    """

    def __init__(self) -> None:
        self.reason: TaskStopped | None = None
        self.abandoned = False
        self._capture_seconds = math.inf
        self._work: anyio.CancelScope | None = None
        self._capture: anyio.CancelScope | None = None

    def stop(
        self, reason: TaskStopped, *, abandon: bool = False, capture_seconds: float | None = None
    ) -> None:
        """Stop the pipeline; the first reason counts. With `abandon` nothing is captured.

        `capture_seconds` is the time that the capture may take, other than after a cancel.
        """
        if self.reason is None:
            self.reason = reason
            self.abandoned = abandon
            if capture_seconds is not None:
                self._capture_seconds = capture_seconds
            if self._work:
                self._work.cancel()
            if self._capture and not abandon:
                self._set_deadline(self._capture)

    def leave(self, reason: TaskStopped) -> None:
        """Stop at once, also a capture: another process may go on in the same sandbox."""
        self.reason = self.reason or reason
        self.abandoned = True
        for scope in (self._work, self._capture):
            if scope:
                scope.cancel()

    def shorten_capture(self, repositories: int) -> None:
        """Limit the time of the capture once the task is stopped."""
        self._capture_seconds = CANCELLED_CAPTURE_SECONDS * repositories

    def work_scope(self, seconds: float) -> anyio.CancelScope:
        """Return the scope for the clone and the agent, with a time limit."""
        self._work = anyio.CancelScope(deadline=anyio.current_time() + seconds)
        if self.reason:
            self._work.cancel()
        return self._work

    def capture_scope(self) -> anyio.CancelScope:
        """Return the scope for the capture; its time is limited once the task is stopped."""
        self._capture = anyio.CancelScope()
        if self.reason:
            self._set_deadline(self._capture)
        return self._capture

    def _set_deadline(self, scope: anyio.CancelScope) -> None:
        scope.deadline = anyio.current_time() + self._capture_seconds
