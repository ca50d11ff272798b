"""Reads many streams at once, in its own process, and measures how late each event arrives.

    python -m benchmarks.streams.clients HOST PORT TOKEN TASKS SECONDS CUTS_PER_SECOND

Reads the streams of the tasks 1 to TASKS. With CUTS_PER_SECOND, random connections are cut and
resumed after their last event. Prints a line once all streams are open, and a JSON object at the
end.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field

_END_OF_HEAD = b"\r\n\r\n"
_READ_BYTES = 65_536


@dataclass(slots=True)
class Received:
    """Counts what all streams together have received.

    `latencies` are in seconds, of events written after the time `since`.
    """

    events: int = 0
    out_of_order: int = 0
    cuts: int = 0
    since: float = float("inf")
    latencies: list[float] = field(default_factory=list)


class StreamClient:
    """Reads the stream of one task and resumes it when it breaks."""

    def __init__(self, address: tuple[str, int], token: str, task_id: int, total: Received) -> None:
        self._address = address
        self._token = token
        self._task_id = task_id
        self._total = total
        self._last = 0
        self._writer: asyncio.StreamWriter | None = None
        self.is_open = asyncio.Event()

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._read()

    def cut(self) -> None:
        """Cut the connection."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def _read(self) -> None:
        reader, self._writer = await asyncio.open_connection(*self._address)
        self._writer.write(
            f"GET /api/tasks/{self._task_id}/events HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {self._token}\r\nAccept: text/event-stream\r\n"
            f"Last-Event-ID: {self._last}\r\n\r\n".encode()
        )
        head = await reader.readuntil(_END_OF_HEAD)
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise OSError(head.decode())
        self.is_open.set()
        while line := await reader.readline():
            if line.startswith(b"data: "):
                self._count(json.loads(line[6:]))

    def _count(self, event: dict[str, object]) -> None:
        total = self._total
        total.events += 1
        total.out_of_order += event["sequence"] != self._last + 1
        self._last = int(str(event["sequence"]))
        data = event["data"]
        if isinstance(data, dict) and "text" in data and float(data["text"]) >= total.since:
            total.latencies.append(time.time() - float(data["text"]))


async def read_streams(
    address: tuple[str, int], token: str, tasks: int, seconds: float, cuts_per_second: float
) -> Received:
    """Read the streams for some seconds after all of them are open."""
    total = Received()
    clients = [StreamClient(address, token, number, total) for number in range(1, tasks + 1)]
    running = [asyncio.create_task(client.run()) for client in clients]
    for client in clients:
        await client.is_open.wait()
    print("open", flush=True)
    total.since = time.time()
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        await asyncio.sleep(1 / cuts_per_second if cuts_per_second else 1)
        if cuts_per_second:
            random.choice(clients).cut()
            total.cuts += 1
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    return total


def main(arguments: list[str]) -> None:
    """Read streams and print the figures."""
    host, port, token, tasks, seconds, cuts = arguments
    total = asyncio.run(
        read_streams((host, int(port)), token, int(tasks), float(seconds), float(cuts))
    )
    latencies = sorted(total.latencies) or [0.0]
    figures = asdict(total) | {
        "latencies": None,
        "since": None,
        "p50": latencies[len(latencies) // 2],
        "p99": latencies[len(latencies) * 99 // 100],
        "maximum": latencies[-1],
    }
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
