"""Tests that clients which send or read slowly, or not at all, hold up nobody."""

from __future__ import annotations

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.live_server import LiveServer, ServerFactory
from tests.support.raw_http import Raw, connect, read_response
from tests.support.source_files import ROOT
from tests.support.waiting import eventually

pytestmark = pytest.mark.local_only("no task runs")

THREADS = 2
SHORT = {"HTTP_READ_SECONDS": 1, "HTTP_WRITE_SECONDS": 1}
HEAD = b"POST /auth/token HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:3000\r\n"
BODY = b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
CHUNKS = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n500\r\n{"
HALF_SENT = {"head": HEAD, "body": HEAD + BODY, "chunks": HEAD + CHUNKS}
PING = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
LARGE = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
SMALL_BUFFER = 4_096
# An attack that held the threads or the main thread would last for seconds, a ping for few
# milliseconds.
MOST_TIMES_SLOWER = 300


@pytest.fixture
def server(new_server: ServerFactory) -> LiveServer:
    """Provide a server with two threads and short deadlines."""
    server = new_server(HTTP_THREADS=THREADS, HTTP_CONNECTIONS=200, **SHORT)
    server.start()
    return server


def ping_seconds(server: LiveServer) -> float:
    """Return the median time of a ping on a connection of its own."""
    times = []
    for _ in range(15):
        started = time.perf_counter()
        with connect(server) as connection:
            connection.sendall(PING)
            assert read_response(connection).status == 200
        times.append(time.perf_counter() - started)
    return statistics.median(times)


@contextmanager
def repeated(step: Callable[[], None]) -> Iterator[None]:
    """Call a function every 0.2 s during the block, until it raises `OSError`."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(0.2):
            try:
                step()
            except OSError:
                return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def slow_attack(server: LiveServer, stack: ExitStack) -> None:
    for start in (*HALF_SENT.values(), b"") * 4:
        connection = stack.enter_context(connect(server))
        connection.sendall(start)
        stack.enter_context(repeated(lambda connection=connection: connection.sendall(b"1")))  # type: ignore[misc]


def unread_attack(server: LiveServer, stack: ExitStack) -> None:
    for _ in range(12):
        stack.enter_context(connect(server, SMALL_BUFFER)).sendall(LARGE * 300)


def unclosed_attack(server: LiveServer, stack: ExitStack) -> None:
    for _ in range(12):
        connection = stack.enter_context(connect(server))
        connection.sendall(PING.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))


def idle_attack(server: LiveServer, stack: ExitStack) -> None:
    for _ in range(300):
        stack.enter_context(connect(server))


@pytest.mark.parametrize("attack", [slow_attack, unread_attack, unclosed_attack, idle_attack])
def test_others_are_answered_as_quickly_during_an_attack(
    server: LiveServer, attack: Callable[[LiveServer, ExitStack], None]
) -> None:
    quiet = ping_seconds(server)
    with ExitStack() as stack:
        attack(server, stack)
        assert ping_seconds(server) < MOST_TIMES_SLOWER * quiet
    assert "Traceback" not in server.output.read_text()


@pytest.mark.parametrize("request_start", HALF_SENT.values(), ids=HALF_SENT.keys())
def test_a_request_that_arrives_byte_by_byte_is_refused_after_its_time(
    server: LiveServer, request_start: bytes
) -> None:
    with connect(server) as connection:
        connection.sendall(request_start)
        with repeated(lambda: connection.sendall(b"1")):
            answer = read_response(connection)
        assert (answer.status, json.loads(answer.body)["code"]) == (408, "request_timeout")
        assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
        assert is_closed(connection)


def test_a_response_that_is_not_read_is_given_up_after_its_time(server: LiveServer) -> None:
    with connect(server, SMALL_BUFFER) as connection:
        connection.sendall(LARGE * 300)  # more than the buffers of the system hold
        address = connection.getsockname()

        def is_open() -> bool:
            return address in [one.raddr for one in server.process.net_connections()]

        eventually(is_open)
        eventually(lambda: not is_open())


def test_responses_that_wait_take_limited_memory(tmp_path: Path) -> None:
    program = (
        "import main, utils.server.open_connections as o; o.MAX_UNSENT_BYTES = 70_000; main.main()"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PORT": "0",
        # So that no response is late.
        "HTTP_WRITE_SECONDS": "600",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process, ExitStack() as stack:
        stack.callback(process.terminate)
        assert process.stdout
        (port,) = re.findall(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
        slow = [stack.enter_context(connect(int(port), SMALL_BUFFER)) for _ in range(8)]
        for connection in slow:
            connection.sendall(LARGE * 300)
        own = {connection.getsockname() for connection in slow}

        def established() -> int:
            connections = psutil.Process().net_connections()
            return sum(one.laddr in own and one.status == "ESTABLISHED" for one in connections)

        eventually(lambda: established() <= 4)


def test_the_oldest_idle_connections_are_closed_at_the_limit(new_server: ServerFactory) -> None:
    server = new_server(HTTP_CONNECTIONS=64)
    server.start()
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(server)) for _ in range(100)]
        idle[-1].sendall(PING)
        assert read_response(idle[-1]).status == 200
        assert all(is_closed(connection) for connection in idle[:30])
        assert server.client().get("/ping").code == 200


def is_closed(connection: Raw) -> bool:
    """Return True when the server has closed a connection."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_a_body_that_arrives_steadily_may_take_longer_than_a_head(server: LiveServer) -> None:
    body = json.dumps({"user_id": "123e4567-e89b-12d3-a456-426614174000"}).encode()
    padding = b" " * 30_000
    with connect(server) as connection:
        connection.sendall(HEAD + b"Content-Type: application/json\r\n")
        connection.sendall(b"Content-Length: %d\r\n\r\n" % (5 * len(padding) + len(body)))
        for _ in range(5):
            connection.sendall(padding)
            time.sleep(0.3)
        connection.sendall(body)
        assert read_response(connection).status == 200


def test_connections_that_say_nothing_keep_their_place(server: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        time.sleep(1.5)  # longer than the time for a head
        connection.sendall(PING)
        assert connection.recv(12) == b"HTTP/1.1 200"
