"""Measures the processor time of the two requests that a server gets most.

With `--against REV` a server of that revision is asked in turn with the present one, so that other
programs slow both alike. No started task runs: the one that does only sleeps, and others wait.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from benchmarks.cost.samples import Samples
from benchmarks.cost.servers import start_servers
from benchmarks.figures import Bench, Figure
from benchmarks.http_load import MANY, PROMPT, load, small_repository
from benchmarks.server import Server

POLL, START = "status poll", "start-task"
TARGETS_MS = {POLL: 0.5, START: 1.0}
SETTINGS = {
    "MAX_CONCURRENT_TASKS": "1",
    "MAX_QUEUED_TASKS": "100000",
    "MAX_QUEUED_PER_USER": "100000",
}


def request_cost(bench: Bench) -> list[Figure]:
    """Measure user and system time of the server for a status poll and for a start-task."""
    repository = str(small_repository(bench))
    samples = Samples("request_cost", TARGETS_MS)
    with ExitStack() as running:
        servers = start_servers(bench, running, SETTINGS)
        polls = {name: _poll_request(server, repository) for name, server in servers.items()}
        for number in range(bench.size(6, 1) + 1):
            for name, server in servers.items():
                start = server.start_task_request(repository, PROMPT)
                for what, request, count in (
                    (POLL, polls[name], bench.size(500, MANY)),
                    (START, start, bench.size(250, 4)),
                ):
                    work = partial(load, server, request, clients=MANY, requests=count)
                    samples.take(name, what, server, work, count)
            if number == 0:
                samples.forget()
    return samples.figures()


def _poll_request(server: Server, repository: str) -> bytes:
    posted = server.connection.send(server.start_task_request(repository, PROMPT)).json()
    server.wait_until_idle()
    server.connection.send(server.start_task_request(repository, "script:\nsleep 3600"))
    return server.request("GET", f"/api/task-status/{posted['task_id']}")
