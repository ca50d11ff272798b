"""Follows a task until it ends and prints each stage and the agent's output."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import datetime

from demo.client import Client, Json
from demo.console import Console, Style

ENDED = frozenset({"completed", "failed", "cancelled"})

POLL_SECONDS = 0.1
NOTE_SECONDS = 10.0
KEPT_LINES = 40
TOOL_LINES = 6
SPINNER = "|/-\\"


class Follower:
    """Polls the status and the events of a task until it ends.

    `log` holds the last lines that the agent wrote, for the report of a failed task.
    """

    def __init__(
        self,
        client: Client,
        console: Console,
        task_id: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.log: deque[str] = deque(maxlen=KEPT_LINES)
        self._client = client
        self._console = console
        self._task_id = task_id
        self._clock = clock
        self._last_sequence = 0
        self._stage = _StageClock(clock)
        self._noted_at = clock()
        self._turns = 0
        self._tool = ""

    def follow(self, stop_at: str | None = None) -> str:
        """Print the progress of the task until it ends; return its status.

        With `stop_at` also return when the agent has begun to use the tool of this name.
        """
        self._tool = ""
        while True:
            status = self._client.get(f"/api/task-status/{self._task_id}")["task"]
            if self._last_sequence == 0:
                self._enter_stage("queued", status["created_at"])
            # Read the events after the status, so that none is missed when the task has ended.
            self._show_new_events()
            if status["status"] in ENDED:
                self._end_stage(status.get("completed_at"))
                return str(status["status"])
            if stop_at is not None and self._tool == stop_at:
                return str(status["status"])
            self._show_progress(status)
            time.sleep(POLL_SECONDS)

    def _show_new_events(self) -> None:
        path = f"/api/tasks/{self._task_id}/events?after="
        while events := self._client.get(f"{path}{self._last_sequence}")["events"]:
            for event in events:
                self._last_sequence = event["sequence"]
                self._show(event)

    def _show(self, event: Json) -> None:
        data = event["data"]
        if event["kind"] == "status" and data.get("stage"):
            self._enter_stage(data["stage"], event["at"])
        elif event["kind"] == "tool":
            self._show_tool(data)
        elif event["kind"] in {"message", "output"}:
            self._show_output(
                str(data.get("text", "")), "dim" if event["kind"] == "output" else None
            )

    def _show_tool(self, data: Json) -> None:
        if "ok" not in data:
            self._tool = str(data.get("name"))
            self._console.line(f"              > {self._tool} {data.get('input', '')}", "cyan")
        elif not data["ok"] or "exit_code" in data:
            lines = str(data.get("output", "")).splitlines()
            self._show_output("\n".join(f"  {line}" for line in lines[-TOOL_LINES:]), "dim")

    def _show_output(self, text: str, style: Style | None) -> None:
        for line in text.splitlines():
            self.log.append(line)
            self._console.line(f"              | {line}", style)

    def _enter_stage(self, name: str, at: str) -> None:
        if name != self._stage.name:
            self._end_stage(at)
            self._stage.start(name, at)

    def _end_stage(self, at: str | None) -> None:
        if self._stage.name is not None:
            seconds = self._stage.seconds_until(at)
            self._console.line(f"  {self._stage.name:<10} {seconds:7.2f} s")
        self._stage.name = None
        self._noted_at = self._clock()

    def _show_progress(self, status: Json) -> None:
        name = self._stage.name
        position = status.get("queue_position")
        note = f", position {position} in the queue" if position else ""
        elapsed = self._stage.seconds_so_far()
        self._turns += 1
        turn = SPINNER[self._turns % len(SPINNER)]
        self._console.progress(f"  {name:<10} {elapsed:7.1f} s {turn}{note}")
        self._note_long_stage(f"  {name:<10} {elapsed:7.1f} s ...{note}")

    def _note_long_stage(self, text: str) -> None:
        """Print a line every `NOTE_SECONDS` where there is no progress line."""
        if not self._console.live and self._clock() - self._noted_at >= NOTE_SECONDS:
            self._noted_at = self._clock()
            self._console.line(text)


class _StageClock:
    """Measures the current stage: by the local clock, at its end by the server's times."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.name: str | None = None
        self._clock = clock
        self._seen_at = clock()
        self._started_at = ""

    def start(self, name: str, at: str) -> None:
        self.name = name
        self._started_at = at
        self._seen_at = self._clock()

    def seconds_so_far(self) -> float:
        return self._clock() - self._seen_at

    def seconds_until(self, at: str | None) -> float:
        if at is None:
            return self.seconds_so_far()
        elapsed = datetime.fromisoformat(at) - datetime.fromisoformat(self._started_at)
        return max(0.0, elapsed.total_seconds())
