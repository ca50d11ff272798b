"""Measures streams of events: how late events arrive, and what open streams cost other clients."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from uuid import uuid4

from benchmarks.figures import Bench, Figure
from benchmarks.http_load import MANY, PROMPT, load, small_repository
from benchmarks.server import ROOT, Server

WRITER = ("-m", "benchmarks.streams.event_writer")
STREAMS = 500
EVENTS_PER_SECOND = 250
CUTS_PER_SECOND = 5
LATE_TARGET_MS = 500
POLLS_TARGET = 0.9
MEMORY_TARGET = 1.1
THREADS_TARGET = 64


def event_streams(bench: Bench) -> list[Figure]:
    """Follow 500 tasks that write events while connections are cut and resumed."""
    streams, seconds = bench.size(STREAMS, 10), bench.size(600, 5)
    user_id = str(uuid4())
    program = (*WRITER, user_id, str(streams), str(EVENTS_PER_SECOND))
    with Server(bench.folder / "server", program=program, user_id=user_id) as server:
        with _open_streams(server, streams, 5, cuts=0):
            pass
        before = _memory(server)
        with _open_streams(server, streams, seconds, cuts=CUTS_PER_SECOND) as found:
            pass
        grown = _memory(server) / before
    return [
        Figure("events received", found["events"], ""),
        Figure("out of order, lost or repeated", found["out_of_order"], "", 0),
        Figure("connections cut", found["cuts"], ""),
        Figure("from write to arrival, p50", round(found["p50"] * 1000, 1), "ms"),
        Figure("from write to arrival, p99", round(found["p99"] * 1000, 1), "ms", LATE_TARGET_MS),
        Figure("memory at the end / before", round(grown, 2), "", MEMORY_TARGET),
    ]


def polls_beside_streams(bench: Bench) -> list[Figure]:
    """Poll and start tasks with 32 clients beside 500 idle streams, and poll without them."""
    streams, requests = bench.size(STREAMS, 10), bench.size(8_000, MANY)
    user_id = str(uuid4())
    program = (*WRITER, user_id, str(streams), "0.01")
    repository = str(small_repository(bench))
    settings = {"MAX_QUEUED_PER_USER": "1000"}
    with Server(bench.folder / "server", settings, program, user_id) as server:
        request = server.request("GET", "/api/task-status/1")
        load(server, request, clients=MANY, requests=requests // 8 or MANY)
        rates: dict[bool, list[float]] = {True: [], False: []}
        costs: dict[bool, list[float]] = {True: [], False: []}
        for has_streams in (False, True) * 3:
            with (
                _open_streams(server, streams, 3600, cuts=0, stops=True)
                if has_streams
                else nullcontext()
            ):
                before = _processor_seconds(server)
                found = load(server, request, clients=MANY, requests=requests)
                costs[has_streams].append((_processor_seconds(server) - before) / requests)
                threads = server.process.num_threads()
            rates[has_streams].append(found.per_second)
        start = server.start_task_request(repository, PROMPT)
        with _open_streams(server, streams, 3600, cuts=0, stops=True):
            started = load(server, start, clients=MANY, requests=bench.size(500, MANY))
    alone, beside = (max(rates[has_streams]) for has_streams in (False, True))
    cost, cost_beside = (1_000_000 * min(costs[has_streams]) for has_streams in (False, True))
    return [
        Figure("processor time of a poll", round(cost), "µs"),
        Figure(f"processor time of a poll beside {streams} streams", round(cost_beside), "µs"),
        Figure(f"threads with {streams} streams", threads, "", THREADS_TARGET),
        Figure(f"start-task, {MANY} clients beside {streams} streams", started.per_second, "1/s"),
        Figure(f"{MANY} clients", alone, "1/s"),
        Figure(f"{MANY} clients beside {streams} streams", beside, "1/s"),
        Figure("ratio", round(beside / alone, 2), "", POLLS_TARGET, "higher"),
    ]


@contextmanager
def _open_streams(
    server: Server, streams: int, seconds: int, *, cuts: float, stops: bool = False
) -> Iterator[dict[str, Any]]:
    """Open streams; fill the yielded dictionary with their figures after `seconds`.

    With `stops` they end with the block instead.
    """
    host, port = server.address
    numbers = (str(streams), str(seconds), str(cuts))
    clients = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "benchmarks.streams.clients",
            host,
            str(port),
            server.token,
            *numbers,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert clients.stdout is not None
    found: dict[str, Any] = {}
    try:
        if clients.stdout.readline() != b"open\n":
            raise RuntimeError("the streams could not be opened")
        yield found
        if not stops:
            found |= json.loads(clients.stdout.readline())
    finally:
        clients.kill()
        clients.wait()
        clients.stdout.close()


def _processor_seconds(server: Server) -> float:
    times = server.process.cpu_times()
    return float(times.user + times.system)


def _memory(server: Server) -> int:
    return int(server.process.memory_info().rss)
