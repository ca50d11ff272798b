"""The requests that a server gets most do not become more expensive unnoticed.

Processor time depends on the machine and on what else it does, the number of calls of functions
does not. `./run.sh bench request_cost` measures the time itself.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from benchmarks.connection import encode_request
from tests.conftest import MakeApp
from tests.support.waiting import eventually
from utils.server.answers import Answer
from utils.server.request_reader import RequestReader
from utils.server.wsgi_bridge import WsgiBridge

# A quarter above what they made on Python 3.11 when this was written; newer versions make fewer.
MOST_CALLS = {"status poll": 975, "unchanged status poll": 990, "start-task": 1_820}

HERE = ("127.0.0.1", 1)


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(max_concurrent_tasks=1, log_level="INFO", shutdown_grace_seconds=0)


def calls_of(work: Callable[[], object]) -> int:
    """Return the number of functions that the work calls in this thread, after it is warm."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    for _ in range(3):
        work()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


class Sender:
    """Sends requests of a user to an application, as the web server does."""

    def __init__(self, app: Flask, user: str) -> None:
        self._bridge = WsgiBridge(app)
        self._user = f"X-User-ID: {user}"

    def prepare(
        self, method: str, path: str, body: object = None, *headers: str
    ) -> Callable[[], Answer]:
        head, _, content = encode_request(method, path, body=body).partition(b"\r\n\r\n")
        lines = [head, *(line.encode() for line in (self._user, *headers)), b"", content]
        reader = RequestReader(1_000_000)
        reader.add(b"\r\n".join(lines))
        request = reader.take_request()
        assert request is not None
        return lambda: self._bridge.answer(request, HERE, HERE)


def content_of(answer: Answer) -> Any:
    assert isinstance(answer.body, bytes)
    return json.loads(answer.body)


def test_frequent_requests_call_few_functions(app: Flask, user: str, repository: Path) -> None:
    sender = Sender(app, user)
    new = {"prompt": "Say hello", "repo_url": str(repository)}
    start = sender.prepare("POST", "/api/start-task", new)
    task_id = content_of(start())["task_id"]
    poll = sender.prepare("GET", f"/api/task-status/{task_id}")
    eventually(lambda: content_of(poll())["task"]["status"] == "completed")
    sleeping = sender.prepare("POST", "/api/start-task", new | {"prompt": "script:\nsleep 60"})
    sleeping_id = content_of(sleeping())["task_id"]
    etag = dict(poll().headers)["ETag"]
    unchanged = sender.prepare("GET", f"/api/task-status/{task_id}", None, f"If-None-Match: {etag}")
    assert unchanged().status.startswith("304")
    found = {
        "status poll": calls_of(poll),
        "unchanged status poll": calls_of(unchanged),
        "start-task": calls_of(start),
    }
    sender.prepare("POST", f"/api/tasks/{sleeping_id}/cancel")()
    assert {name: count for name, count in found.items() if count > MOST_CALLS[name]} == {}
