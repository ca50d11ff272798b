"""Tests that clients which stop in the middle of a request do not block the server."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack

import pytest

from tests.support.live_server import ServerFactory
from utils.server.gunicorn_server import READ_SECONDS

pytestmark = pytest.mark.local_only("no task runs")

THREADS = 2
HALF_SENT = {
    "headers": b"POST /auth/token HTTP/1.1\r\nHost: localhost\r\nContent-Ty",
    "body": b"POST /auth/token HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
}
SILENT = 40


def test_connections_that_say_nothing_take_no_thread(new_server: ServerFactory) -> None:
    server = new_server(HTTP_THREADS=THREADS)
    server.start()
    with ExitStack() as stack:
        silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(SILENT)]
        for connection in silent:
            stack.enter_context(connection)
        # A few seconds for each of them would exceed the timeout of the client.
        assert server.client().get("/health/live").code == 200
        silent[0].sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert silent[0].recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize("request_start", HALF_SENT.values(), ids=HALF_SENT.keys())
def test_half_sent_requests_give_their_threads_back(
    new_server: ServerFactory, request_start: bytes
) -> None:
    server = new_server(HTTP_THREADS=THREADS)
    server.start()
    with ExitStack() as stack:
        for _ in range(THREADS + 1):
            connection = socket.create_connection(("127.0.0.1", server.port))
            stack.enter_context(connection)
            connection.sendall(request_start)
        started = time.monotonic()
        # The client signs in first, which needs a free thread.
        assert server.client().get("/health/live").code == 200
        assert time.monotonic() - started > READ_SECONDS / 2, "nothing held the threads"
    assert "Traceback" not in server.output.read_text()
