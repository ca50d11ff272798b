"""Measures the processor time of the server for a task, from its request to the end of its sandbox.

It counts the process of the server only: git, the agent, the supervisor of local sandboxes and the
fake cloud are processes of their own. With `--against REV` a server of that revision runs the same
tasks in turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from benchmarks.cost.samples import Samples
from benchmarks.cost.servers import start_servers
from benchmarks.figures import Bench, Figure
from benchmarks.http_load import PROMPT, load, small_repository
from benchmarks.server import Server
from tests.fakes.e2b.control import E2BServerProcess

LOCAL, CLOUD = "local task", "E2B task"
TARGETS_MS = {LOCAL: 15.0, CLOUD: 30.0}
PLACES = "4"
LOOK_SECONDS = 0.05

IsQuiet = Callable[[Server], bool]


def task_cost(bench: Bench) -> list[Figure]:
    """Measure user and system time of the server for a local task and for one in E2B's cloud."""
    repository = small_repository(bench)
    samples = Samples("task_cost", TARGETS_MS)
    places = {"MAX_CONCURRENT_TASKS": PLACES, "MAX_TASKS_PER_USER": PLACES}
    with ExitStack() as running:
        cloud = running.enter_context(E2BServerProcess(bench.folder))
        in_cloud = {**places, **cloud.environment, "E2B_SMOKE_TEST": "true"}
        kinds: tuple[tuple[str, dict[str, Server], str, IsQuiet], ...] = (
            (LOCAL, start_servers(bench, running, places), str(repository), _has_no_folder),
            (
                CLOUD,
                start_servers(bench, running, in_cloud, "cloud"),
                repository.as_uri(),
                lambda _: not cloud.stats()["sandboxes"]["alive"],
            ),
        )
        for number in range(bench.size(8, 1) + 1):
            for what, servers, url, is_quiet in kinds:
                count = bench.size(8, 2)
                for name, server in servers.items():
                    work = partial(_run_tasks, server, url, count, is_quiet)
                    samples.take(name, what, server, work, count)
            if number == 0:
                samples.forget()
    return samples.figures()


def _run_tasks(server: Server, url: str, count: int, is_quiet: IsQuiet) -> None:
    load(server, server.start_task_request(url, PROMPT), clients=count, requests=count)
    # The server is asked only when it has nothing to do: its answers cost processor time.
    time.sleep(2 * LOOK_SECONDS)
    while not is_quiet(server):
        time.sleep(LOOK_SECONDS)
    server.wait_until_idle(LOOK_SECONDS)


def _has_no_folder(server: Server) -> bool:
    return not any(server.sandboxes.glob("*"))
