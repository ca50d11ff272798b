"""A program for tests: the web server with a small application that answers with streams.

python -m tests.server.stream_server     (settings from the environment)
"""

from __future__ import annotations

import asyncio
import resource
import sys
import threading
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import structlog
from flask import Flask, Response, jsonify

from utils.config.settings import Settings
from utils.server.web_server import serve

TICK_SECONDS = 0.05
FLOOD_BYTES = 65_536

_counts = {"open": 0, "made": 0}


async def _ticks(count: int) -> AsyncIterator[bytes]:
    _counts["open"] += 1
    try:
        for number in range(count):
            yield b"data: %d\n\n" % number
            yield b""
            await asyncio.sleep(TICK_SECONDS)
    finally:
        _counts["open"] -= 1


async def _flood() -> AsyncIterator[bytes]:
    _counts["open"] += 1
    try:
        while True:
            _counts["made"] += FLOOD_BYTES
            yield b"x" * FLOOD_BYTES
    finally:
        _counts["open"] -= 1


async def _failing() -> AsyncIterator[bytes]:
    yield b"data: 0\n\n"
    raise RuntimeError("marked failure")


def build() -> Flask:
    """Return the application."""
    app = Flask(__name__)
    database, dispatcher = SimpleNamespace(kind="none"), SimpleNamespace(sandbox_kind="none")
    app.extensions["services"] = SimpleNamespace(database=database, dispatcher=dispatcher)

    def stream(path: str, make: Any) -> None:
        def view(**arguments: int) -> Response:
            body = make(**arguments)
            return Response(body, direct_passthrough=True, mimetype="text/event-stream")

        app.add_url_rule(path, path, view)

    stream("/ticks/<int:count>", _ticks)
    stream("/flood", _flood)
    stream("/failing", _failing)

    @app.get("/counts")
    def counts() -> Response:
        return jsonify(_counts | {"threads": threading.active_count()})

    @app.get("/slow/<int:seconds>")
    def slow(seconds: int) -> str:
        _counts["open"] += 1
        time.sleep(seconds)
        return "done"

    return app


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    # Fewer files than the connections need, as on a usual system.
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    serve(Settings(), build, lambda _: None, lambda _: None)
