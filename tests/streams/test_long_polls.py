"""Tests polls whose answer waits until the task changes, over a socket."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from tests.streams.test_task_streams import stream, waiting_task
from tests.support.live_server import Client, LiveServer, ServerFactory

STREAMS = 4
QUICK_SECONDS = 15.0
"""Far below the time for which the clients are ready to wait."""


class Polled(NamedTuple):
    """An answer to a poll; `task` is None for one without a body."""

    code: int
    task: Any
    etag: str
    retry_after: str | None
    seconds: float


class Poller:
    """Polls on a connection of its own, which the server has accepted."""

    def __init__(self, server: LiveServer, client: Client) -> None:
        self.user_id = client.user_id
        self._headers = {"X-User-ID": client.user_id}
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self._connection.request("GET", "/ping")
        self._connection.getresponse().read()

    def poll(self, path: str, etag: str | None = None) -> Polled:
        """Return the answer to a request that may name the answer before."""
        headers = self._headers | ({"If-None-Match": etag} if etag else {})
        began = time.monotonic()
        self._connection.request("GET", f"/api{path}", headers=headers)
        answer = self._connection.getresponse()
        text = answer.read()
        task = json.loads(text)["task"] if text else None
        named, again = answer.headers["ETag"], answer.headers["Retry-After"]
        return Polled(answer.status, task, named, again, time.monotonic() - began)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


Begin = Callable[..., "Future[Polled]"]


@pytest.fixture
def small_server(new_server: ServerFactory) -> LiveServer:
    """Provide a server with one request thread."""
    server = new_server(HTTP_THREADS=1, MAX_STREAMS=STREAMS)
    server.start()
    return server


@pytest.fixture
def pollers(small_server: LiveServer) -> Iterator[list[Poller]]:
    """Provide a user's pollers, as many as there may be streams."""
    client = small_server.client()
    made = [Poller(small_server, client) for _ in range(STREAMS)]
    yield made
    for poller in made:
        poller.close()


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Provide a function that begins a poll in a thread."""
    with ThreadPoolExecutor(STREAMS) as threads:
        yield lambda poller, *arguments: threads.submit(poller.poll, *arguments)


@pytest.mark.local_only("waiting is the same for all sandboxes")
def test_a_poll_waits_for_a_change_and_holds_no_thread(
    small_server: LiveServer, pollers: list[Poller], begin: Begin, small_repository: str
) -> None:
    poller, *others = pollers
    client = small_server.client(poller.user_id)
    task_id = waiting_task(client, small_repository)
    client.wait_for(task_id, "agent")
    status, whole = f"/task-status/{task_id}", f"/tasks/{task_id}"
    etag, other_etag = poller.poll(status).etag, poller.poll(whole).etag
    waits = [(status, etag), (whole, other_etag), (status, None)]
    begun = [
        begin(one, f"{path}?wait=30", named)
        for one, (path, named) in zip(others, waits, strict=True)
    ]
    late = poller.poll(f"{status}?wait=1", etag)
    assert (late.code, late.task, late.etag) == (304, None, etag)
    assert late.seconds >= 1
    assert not any(one.done() for one in begun)

    client.post(f"{whole}/chat", {"role": "user", "content": "Thank you"})
    for answer in (one.result() for one in begun):
        assert (answer.code, answer.retry_after) == (200, None)
        assert answer.task["chat_messages"][-1]["content"] == "Thank you"
        assert answer.seconds < QUICK_SECONDS
    assert poller.poll(f"{status}?wait=30", etag).seconds < QUICK_SECONDS

    client.post(f"{whole}/cancel")
    ended = poller.poll(f"{status}?wait=30")
    assert (ended.task["status"], ended.seconds < QUICK_SECONDS) == ("cancelled", True)
    last = begin(poller, f"{status}?wait=30", ended.etag)
    small_server.terminate()
    assert (last.result().code, last.result().seconds < QUICK_SECONDS) == (304, True)


@pytest.mark.local_only("waiting is the same for all sandboxes")
def test_a_poll_that_may_not_wait_is_answered_at_once(
    small_server: LiveServer, pollers: list[Poller], small_repository: str
) -> None:
    poller = pollers[0]
    client = small_server.client(poller.user_id)
    task_id = waiting_task(client, small_repository)
    opened = [stream(small_server, client, f"/tasks/{task_id}/events") for _ in range(STREAMS)]
    for one in opened:
        one.until("status")
    answer = poller.poll(f"/task-status/{task_id}?wait=30")
    assert (answer.code, answer.retry_after) == (200, "2")
    assert answer.seconds < QUICK_SECONDS
    for one in opened:
        one.close()
    client.post(f"/tasks/{task_id}/cancel")
