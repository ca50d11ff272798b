"""Tests of responses that are made bit by bit: they cost no thread, and end with their client."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.server.stream_server import FLOOD_BYTES
from tests.support.preloaded import PreloadedProcess, start_preloaded
from tests.support.raw_http import WAIT_SECONDS, Raw, connect, read_response
from tests.support.waiting import eventually

pytestmark = pytest.mark.local_only("no task runs")

THREADS = 4
MANY = 500
ENDLESS = 1_000_000
SMALL_BUFFER = 4_096

Start = Callable[..., "StreamServer"]


class StreamServer:
    """A running server of `tests.server.stream_server`."""

    def __init__(self, process: PreloadedProcess, output: Path) -> None:
        self.process = process
        self.output = output

        def announced() -> re.Match[str] | None:
            assert process.poll() is None, output.read_text()
            return re.search(r"127\.0\.0\.1:(\d+)", output.read_text())

        self.port = int(eventually(announced)[1])

    def ask(self, path: str, receive_bytes: int | None = None, version: str = "1.1") -> Raw:
        """Send a request on a new connection."""
        connection = connect(self.port, receive_bytes)
        connection.sendall(f"GET {path} HTTP/{version}\r\nHost: localhost\r\n\r\n".encode())
        return connection

    def counts(self) -> dict[str, Any]:
        """Return what the application counts, asked on a new connection."""
        with self.ask("/counts") as connection:
            counts: dict[str, Any] = json.loads(read_response(connection).body)
        return counts

    def stop(self) -> None:
        """Ask the server to stop."""
        os.kill(self.process.pid, signal.SIGTERM)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Provide a function that starts a server with the given settings."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(_started(tmp_path, settings))


@contextmanager
def _started(folder: Path, settings: dict[str, object]) -> Iterator[StreamServer]:
    variables = {name: str(value) for name, value in settings.items()}
    base = {"PATH": os.environ["PATH"], "PORT": "0", "HTTP_THREADS": str(THREADS)}
    with (folder / "output").open("w") as output:
        process = start_preloaded(
            ["-m", "tests.server.stream_server"],
            cwd=folder,
            env=base | variables,
            output=output.fileno(),
        )
    try:
        yield StreamServer(process, folder / "output")
    finally:
        process.kill()
        process.wait(WAIT_SECONDS)


def read_until(connection: Raw, wanted: bytes) -> bytes:
    """Read until a text has arrived, or to the end if it is empty."""
    received = b""
    while not wanted or wanted not in received:
        data = connection.recv(65_536)
        if not data:
            break
        received += data
    assert wanted in received
    return received


def test_each_part_is_sent_as_it_is_made_until_the_end(start: Start) -> None:
    server = start()
    with server.ask("/ticks/3") as connection:
        head, _, body = read_until(connection, b"data: 0").partition(b"\r\n\r\n")
        body += read_until(connection, b"")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nContent-Type: text/event-stream" in head
    assert b"\r\nTransfer-Encoding: chunked" in head
    ticks = [b"9\r\ndata: %d\n\n\r\n" % number for number in range(3)]
    assert body == b"".join(ticks) + b"0\r\n\r\n"
    with server.ask("/ticks/2", version="1.0") as connection:
        head, _, body = read_until(connection, b"").partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert body == b"data: 0\n\ndata: 1\n\n"


def test_a_stream_ends_when_its_client_is_gone(start: Start) -> None:
    server = start()
    for path in (f"/ticks/{ENDLESS}", "/flood"):
        with server.ask(path) as connection:
            read_until(connection, b"\r\n\r\n")
            eventually(lambda: server.counts()["open"] == 1)
        eventually(lambda: server.counts()["open"] == 0)


def test_a_stream_that_is_not_read_makes_no_more_and_ends_after_its_time(start: Start) -> None:
    server = start(HTTP_WRITE_SECONDS=1)
    with server.ask("/flood", SMALL_BUFFER):
        eventually(lambda: server.counts()["open"] == 1)
        eventually(lambda: server.counts()["open"] == 0)
    # What the buffers of the system hold, which is a few megabytes.
    assert server.counts()["made"] < 200 * FLOOD_BYTES


def test_a_stream_that_fails_is_cut_off_so_that_its_client_sees_it(start: Start) -> None:
    server = start()
    with server.ask("/failing") as connection:
        assert not read_until(connection, b"").endswith(b"0\r\n\r\n")
    assert server.counts()["open"] == 0
    assert "marked failure" in server.output.read_text()


def test_a_signal_ends_all_streams_and_the_server(start: Start) -> None:
    server = start()
    with ExitStack() as stack:
        streams = [stack.enter_context(server.ask(f"/ticks/{ENDLESS}")) for _ in range(20)]
        for stream in streams:
            read_until(stream, b"data: 0")
        server.stop()
        assert all(read_until(stream, b"").endswith(b"0\r\n\r\n") for stream in streams)
    assert server.process.wait(WAIT_SECONDS) == 0


def test_a_second_signal_ends_a_server_that_waits_for_a_request(start: Start) -> None:
    server = start()
    with server.ask("/slow/600"):
        eventually(lambda: server.counts()["open"] == 1)
        server.stop()
        eventually(lambda: not is_listening(server))
        assert server.process.poll() is None
        server.stop()
        assert server.process.wait(WAIT_SECONDS) == 0


def is_listening(server: StreamServer) -> bool:
    try:
        socket.create_connection(("127.0.0.1", server.port)).close()
    except ConnectionError:
        return False
    return True


def test_five_hundred_streams_use_no_thread_and_keep_their_place_beside_clients(
    start: Start,
) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < 4 * MANY:
        pytest.skip("the system allows too few open files")
    server = start()
    with ExitStack() as stack:
        streams = [stack.enter_context(server.ask(f"/ticks/{ENDLESS}")) for _ in range(MANY)]
        for stream in streams:
            read_until(stream, b"data: 0")
        # More clients than may be connected, so the oldest of them have to go. Each has its answer
        # before the next one comes: streams give way only while threads work for all others.
        for _ in range(MANY + 100):
            idle = stack.enter_context(server.ask("/counts"))
            assert read_response(idle).status == 200
        counts = server.counts()
        assert counts["open"] == MANY
        assert counts["threads"] <= THREADS + 1
        for stream in streams:
            read_until(stream, b"data: ")


def test_a_stream_gives_way_when_there_is_no_other_place(start: Start) -> None:
    server = start(HTTP_CONNECTIONS=64)
    with ExitStack() as stack:
        for _ in range(80):
            stream = stack.enter_context(server.ask(f"/ticks/{ENDLESS}"))
            read_until(stream, b"data: 0")
        assert 0 < server.counts()["open"] < 64
