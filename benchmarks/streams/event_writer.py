"""Runs a server that also writes events to tasks which nothing else runs, at a steady pace.

    python -m benchmarks.streams.event_writer USER_ID TASKS EVENTS_PER_SECOND

The events stand for those of agents; they take the way of all events from the gateway on. `text` of
an event is the time at which it was written, in seconds. SIGTERM stops the server.
"""

from __future__ import annotations

import sys
import threading
import time
from datetime import UTC, datetime

from flask import Flask

from main import begin_stop_app, create_app, stop_app
from utils.api.endpoint import Services
from utils.config.settings import Settings
from utils.config.startup import read_settings
from utils.models.events import Event
from utils.models.tasks import NewTask, TaskStatus
from utils.redaction import Redactor
from utils.server.web_server import serve
from utils.telemetry import configure_logging


class EventWriter:
    """Creates tasks and appends an event to each of them in turn."""

    def __init__(self, user_id: str, tasks: int, events_per_second: float) -> None:
        self._user_id = user_id
        self._tasks = tasks
        self._pause_seconds = 1 / events_per_second
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def build(self, settings: Settings) -> Flask:
        """Build the application and start to write."""
        app = create_app(settings)
        services: Services = app.extensions["services"]
        self._database = services.database
        self._database.ensure_user(self._user_id)
        self._thread.start()
        return app

    def stop(self, app: Flask) -> None:
        """Stop to write, then stop the application."""
        self._stopped.set()
        self._thread.join()
        stop_app(app)

    def _write(self) -> None:
        new = NewTask("Benchmark", "https://github.com/example/example", "main", "claude")
        numbers = [self._start(new) for _ in range(self._tasks)]
        due = time.monotonic()
        while True:
            for number in numbers:
                due += self._pause_seconds
                if self._stopped.wait(max(due - time.monotonic(), 0)):
                    return
                data = {"stream": "stdout", "text": repr(time.time())}
                event = Event("output", data, datetime.now(UTC))
                self._database.append_events(self._user_id, number, [event])

    def _start(self, new: NewTask) -> int:
        task = self._database.create_task(self._user_id, new)
        self._database.move_task(task.id, {TaskStatus.PENDING}, TaskStatus.RUNNING)
        return task.id


def main(arguments: list[str]) -> None:
    """Serve until a signal arrives."""
    user_id, tasks, events_per_second = arguments
    writer = EventWriter(user_id, int(tasks), float(events_per_second))
    settings = read_settings()
    configure_logging(settings, Redactor().redact)
    serve(settings, lambda: writer.build(settings), begin_stop_app, writer.stop)


if __name__ == "__main__":
    main(sys.argv[1:])
