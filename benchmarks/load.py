"""Sends one request repeatedly over several connections, in its own process.

    python -m benchmarks.load HOST PORT CLIENTS REQUESTS    (the request on standard input)

Each client sends its next request after the response to the last one, on the same connection unless
the server closes it. Prints a JSON object.
"""

from __future__ import annotations

import json
import selectors
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.connection import connect, decode_answer

_CHUNK = 262_144
_WAIT_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Load:
    """The results of a load test; times in milliseconds."""

    requests: int
    failures: int
    per_second: float
    p50: float
    p95: float
    bytes_per_answer: int


def run_load(address: tuple[str, int], request: bytes, *, clients: int, requests: int) -> Load:
    """Run the load generator in its own process and return its results."""
    host, port = address
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.load", host, str(port), str(clients), str(requests)],
        cwd=Path(__file__).resolve().parent.parent,
        input=request,
        stdout=subprocess.PIPE,
        check=True,
    )
    return Load(**json.loads(finished.stdout))


class _Client:
    def __init__(self, opened: socket.socket) -> None:
        self.socket = opened
        self.sent = 0.0
        self.received = bytearray()


class _Generator:
    def __init__(self, address: tuple[str, int], request: bytes, requests: int) -> None:
        self._address = address
        self._request = request
        self._left = requests
        self._waiting = 0
        self._selector = selectors.DefaultSelector()
        self.failures = 0
        self.seconds: list[float] = []
        self.bytes = 0

    def run(self, clients: list[_Client]) -> None:
        for client in clients:
            self._selector.register(client.socket, selectors.EVENT_READ, client)
            self._send(client)
        while self._waiting:
            ready = self._selector.select(_WAIT_SECONDS)
            if not ready:
                raise TimeoutError("the server does not answer")
            for key, _ in ready:
                self._receive(key.data)

    def _send(self, client: _Client) -> None:
        if self._left:
            self._left -= 1
            self._waiting += 1
            client.received.clear()
            client.sent = time.perf_counter()
            client.socket.sendall(self._request)

    def _receive(self, client: _Client) -> None:
        chunk = client.socket.recv(_CHUNK)
        if not chunk:
            raise ConnectionError("the server closed a connection")
        client.received += chunk
        answer = decode_answer(client.received)
        if answer is not None:
            self.seconds.append(time.perf_counter() - client.sent)
            self.bytes += len(answer.body)
            self.failures += not 200 <= answer.status < 300
            self._waiting -= 1
            if answer.is_last:
                self._reconnect(client)
            self._send(client)

    def _reconnect(self, client: _Client) -> None:
        self._selector.unregister(client.socket)
        client.socket.close()
        client.socket = connect(self._address)
        self._selector.register(client.socket, selectors.EVENT_READ, client)


def main() -> None:
    """Run the load generator with the arguments of the command line."""
    host, *numbers = sys.argv[1:]
    port, clients, requests = map(int, numbers)
    generator = _Generator((host, port), sys.stdin.buffer.read(), requests)
    opened = [_Client(connect((host, port))) for _ in range(clients)]
    started = time.perf_counter()
    generator.run(opened)
    elapsed = time.perf_counter() - started
    ordered = sorted(second * 1000 for second in generator.seconds)
    load = Load(
        requests=len(ordered),
        failures=generator.failures,
        per_second=round(len(ordered) / elapsed, 1),
        p50=round(statistics.median(ordered), 2),
        p95=round(ordered[int(len(ordered) * 0.95)], 2),
        bytes_per_answer=generator.bytes // len(ordered),
    )
    print(json.dumps(asdict(load)))


if __name__ == "__main__":
    main()
