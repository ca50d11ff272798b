"""Stops a running task from outside."""

from __future__ import annotations

import math

import anyio

from utils.errors import TaskStopped

CANCELLED_CAPTURE_SECONDS = 1.2
"""Time for the capture of a cancelled task in the cloud, where time costs money."""


class StopRequest:
    """Ends clone and agent from outside; the capture of what is there still happens."""

    def __init__(self) -> None:
        self.reason: TaskStopped | None = None
        self.abandoned = False
        self._capture_seconds = math.inf
        self._work: anyio.CancelScope | None = None
        self._capture: anyio.CancelScope | None = None

    def stop(self, reason: TaskStopped, *, abandon: bool = False) -> None:
        """Ask the pipeline to stop; the first reason counts. `abandon` gives the changes up."""
        if self.reason is None:
            self.reason = reason
            self.abandoned = abandon
            if self._work:
                self._work.cancel()
            if self._capture and not abandon:
                self._hurry(self._capture)

    def hurry_capture(self) -> None:
        """Let the capture take little time once the task is cancelled."""
        self._capture_seconds = CANCELLED_CAPTURE_SECONDS

    def work_scope(self, seconds: float) -> anyio.CancelScope:
        """Return the scope of clone and agent."""
        self._work = anyio.CancelScope(deadline=anyio.current_time() + seconds)
        if self.reason:
            self._work.cancel()
        return self._work

    def capture_scope(self) -> anyio.CancelScope:
        """Return the scope of the capture: short once the task is cancelled."""
        self._capture = anyio.CancelScope()
        if self.reason:
            self._hurry(self._capture)
        return self._capture

    def _hurry(self, scope: anyio.CancelScope) -> None:
        scope.deadline = anyio.current_time() + self._capture_seconds
