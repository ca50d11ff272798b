"""Measures the processor time of the two requests that a server gets most.

With `--against REV` a server of that revision is asked in turn with the present one, so that other
programs slow both alike. No started task runs: the one that does only sleeps, and others wait.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from contextlib import ExitStack

from benchmarks.figures import Bench, Figure
from benchmarks.http_load import MANY, PROMPT, load, small_repository
from benchmarks.server import Server

POLL_TARGET_MS = 0.5
START_TARGET_MS = 1.0
NOW, BEFORE = "now", "before"
POLL, START = "status poll", "start-task"
SETTINGS = {
    "MAX_CONCURRENT_TASKS": "1",
    "MAX_QUEUED_TASKS": "100000",
    "MAX_QUEUED_PER_USER": "100000",
}


def request_cost(bench: Bench) -> list[Figure]:
    """Measure user and system time of the server for a status poll and for a start-task."""
    repository = str(small_repository(bench))
    found: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    with ExitStack() as running:
        servers = {NOW: running.enter_context(Server(bench.folder / NOW, SETTINGS))}
        if bench.against is not None:
            settings = SETTINGS | {"PYTHONPATH": str(bench.against)}
            program = (str(bench.against / "main.py"),)
            older = Server(bench.folder / BEFORE, settings, program)
            servers[BEFORE] = running.enter_context(older)
        polls = {name: _poll_request(server, repository) for name, server in servers.items()}
        for number in range(bench.size(8, 1) + 1):
            for name, server in servers.items():
                start = server.start_task_request(repository, PROMPT)
                for what, request, count in (
                    (POLL, polls[name], bench.size(1_000, MANY)),
                    (START, start, bench.size(400, 4)),
                ):
                    cost = _milliseconds(server, request, count)
                    if number:  # the first ones warm up
                        found[name, what].append(cost)
    medians = {key: statistics.median(values) for key, values in found.items()}
    return [*_absolute(medians), *_ratios(medians)]


def _poll_request(server: Server, repository: str) -> bytes:
    posted = server.connection.send(server.start_task_request(repository, PROMPT)).json()
    server.wait_until_idle()
    server.connection.send(server.start_task_request(repository, "script:\nsleep 3600"))
    return server.request("GET", f"/api/task-status/{posted['task_id']}")


def _milliseconds(server: Server, request: bytes, count: int) -> float:
    before = server.process.cpu_times()
    load(server, request, clients=MANY, requests=count)
    after = server.process.cpu_times()
    spent = after.user - before.user + after.system - before.system
    return 1_000 * float(spent) / count


def _absolute(medians: dict[tuple[str, str], float]) -> list[Figure]:
    targets = {POLL: POLL_TARGET_MS, START: START_TARGET_MS}
    return [
        Figure(
            f"{what}, processor time" + (f", {name}" if name == BEFORE else ""),
            round(cost, 3),
            "ms",
            targets[what] if name == NOW else None,
        )
        for (name, what), cost in medians.items()
    ]


def _ratios(medians: dict[tuple[str, str], float]) -> list[Figure]:
    return [
        Figure(f"{what}, {NOW} / {BEFORE}", round(medians[NOW, what] / medians[name, what], 2), "x")
        for name, what in medians
        if name == BEFORE
    ]
