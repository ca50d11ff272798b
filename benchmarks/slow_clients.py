"""Measures response times while slow and idle clients keep connections open."""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.connection import connect, encode_request
from benchmarks.figures import Bench, Figure
from benchmarks.http_load import load
from benchmarks.server import Server

SLOW = 12
IDLE = 1_100
BYTE_SECONDS = 5.0
P95_TARGET_MS = 100

_HEAD = b"POST /auth/token HTTP/1.1\r\nHost: localhost\r\n"
_BODY = _HEAD + b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"


def slow_clients(bench: Bench) -> list[Figure]:
    """Measure GET /ping while 12 clients send a byte every 5 s and 1,100 send nothing."""
    idle = bench.size(IDLE, 40)
    requests = bench.size(1_000, 20)
    _allow_open_files(2 * IDLE)
    with Server(bench.folder / "server") as server:
        ping = encode_request("GET", "/ping")
        quiet = load(server, ping, clients=1, requests=requests)
        with _attack(server.address, idle):
            attacked = load(server, ping, clients=1, requests=requests)
    return [
        Figure("quiet, p95", quiet.p95, "ms"),
        Figure(f"{SLOW} slow and {idle} idle connections, p95", attacked.p95, "ms", P95_TARGET_MS),
    ]


@contextmanager
def _attack(address: tuple[str, int], idle: int) -> Iterator[None]:
    ended = threading.Event()
    with ExitStack() as opened:
        for _ in range(idle):
            opened.enter_context(connect(address))
        slow = [opened.enter_context(connect(address)) for _ in range(SLOW)]
        for number, connection in enumerate(slow):
            connection.sendall(_BODY if number % 2 else _HEAD)
        trickle = threading.Thread(target=_trickle, args=(slow, ended))
        trickle.start()
        try:
            yield
        finally:
            ended.set()
            trickle.join()


def _trickle(connections: list[socket.socket], ended: threading.Event) -> None:
    while not ended.wait(BYTE_SECONDS):
        for connection in connections:
            try:
                connection.sendall(b"1")
            except OSError:  # the server has closed it
                continue


def _allow_open_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        most = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
