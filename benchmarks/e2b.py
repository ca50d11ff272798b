"""Measures tasks in E2B sandboxes, with a fake cloud in its own process.

The fake cloud delays each request by 50 ms. Its sandboxes are processes on this machine, so git,
the agents and the fake use CPU time too. They have the lowest priority, because in a real cloud
they do not keep the server from its core. The `CPU` figures report the server's share.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psutil

from benchmarks.figures import Bench, Figure
from benchmarks.load import run_load
from benchmarks.repositories import BRANCH, make_repository
from benchmarks.server import Server
from benchmarks.single_task import PROMPT, SETTLE_SECONDS, BareScript, run_task
from benchmarks.watch import Watch, processes_with
from tests.fakes.e2b.control import E2BServerProcess
from tests.fakes.e2b.reaper import MARKER
from tests.support.backends import Repository
from tests.support.e2b.fault_run import run_with_faults
from tests.support.e2b.tasks import cloud_backend

DELAY_SECONDS = 0.05
NICENESS = 19
POLL_SECONDS = 0.5

OVERHEAD_TARGET = 0.7
ROUND_TRIPS_TARGET = 7
TWENTY_TARGET = 20
AGENTS_TARGET = 25
MANY_TARGET = 60
THREADS_TARGET = 64
GROWTH_TARGET = 200

FAULT_PLACES = 60
FAULT_RUN_SECONDS = 900


def e2b_task(bench: Bench) -> list[Figure]:
    """Compare a task on an idle server with a script that runs the same git commands."""
    with _Setup(bench).running() as setup:
        bare = BareScript(bench.folder / "bare")
        run_task(setup.server, setup.url)
        scripts, tasks, round_trips = [], [], []
        for _ in range(bench.size(20, 1)):
            for sample in random.sample(("script", "task"), 2):
                setup.server.wait_until_idle()
                time.sleep(SETTLE_SECONDS)
                if sample == "script":
                    scripts.append(bare.run(setup.url))
                    continue
                setup.cloud.forget_requests()
                tasks.append(run_task(setup.server, setup.url))
                setup.server.wait_until_idle()
                round_trips.append(len(setup.cloud.requests()))
    task, script = statistics.median(tasks), statistics.median(scripts)
    return [
        Figure("task less script", round(task - script, 3), "s", OVERHEAD_TARGET),
        Figure("round trips at most", max(round_trips), "", ROUND_TRIPS_TARGET),
        Figure("task, median", round(task, 3), "s"),
        Figure("script, median", round(script, 3), "s"),
    ]


def e2b_twenty(bench: Bench) -> list[Figure]:
    """Measure 20 tasks at once; report the median of several runs."""
    count = bench.size(20, 3)
    with _Setup(bench, count).running() as setup:
        setup.run(count, PROMPT)
        runs = [setup.run(count, PROMPT) for _ in range(bench.size(7, 1))]
        completed = setup.server.completed_tasks()
    run = sorted(runs, key=lambda run: run.result_seconds)[len(runs) // 2]
    return [
        Figure("tasks completed", completed, "", count * (len(runs) + 1), "higher"),
        Figure(
            "tasks per second", round(count / run.result_seconds, 1), "1/s", TWENTY_TARGET, "higher"
        ),
        *run.cpu_figures(count),
    ]


def e2b_long_agents(bench: Bench) -> list[Figure]:
    """Measure 20 agents that take 20 s each, then one that takes 70 s."""
    count, seconds = bench.size((20, 20), (2, 1))
    with _Setup(bench, count).running() as setup:
        run = setup.run(count, f"script:\nsleep {seconds}\nwrite done.txt yes")
        completed = setup.server.completed_tasks()
        setup.run(1, f"script:\nsleep {bench.size(70, 2)}\nwrite done.txt yes")
        long_completed = setup.server.completed_tasks() - completed
    return [
        Figure("tasks of 20 s completed", completed, "", count, "higher"),
        Figure("tasks of 20 s, wall time", round(run.result_seconds, 2), "s", AGENTS_TARGET),
        Figure("task of 70 s completed", long_completed, "", 1, "higher"),
    ]


def e2b_five_hundred(bench: Bench) -> list[Figure]:
    """Measure 500 tasks at once, each with an agent that takes 20 s."""
    count, seconds = bench.size((500, 20), (5, 1))
    with _Setup(bench, count).running() as setup:
        setup.run(2, PROMPT)
        done = setup.server.completed_tasks()
        run = setup.run(count, f"script:\nsleep {seconds}\nwrite done.txt yes")
        completed = setup.server.completed_tasks() - done
        left = setup.left_over()
    growth = (run.server.peak_bytes - run.server.bytes_before) / 1000 / count
    return [
        Figure("tasks completed", completed, "", count, "higher"),
        Figure("wall time", round(run.seconds, 2), "s", MANY_TARGET),
        Figure("threads at most", run.server.threads, "", THREADS_TARGET),
        Figure("threads at most, those of the SDK's HTTP client", run.server.runtime_threads, ""),
        Figure("memory growth per task", round(growth, 1), "kB", GROWTH_TARGET),
        Figure("sandboxes, streams and processes left behind", left, "", 0),
        *run.cpu_figures(count),
    ]


def e2b_faults(bench: Bench) -> list[Figure]:
    """Run 300 tasks while every fifth request fails; check their results and their sandboxes."""
    count = bench.size(300, 10)
    repository = Repository(bench.folder / "repository")
    repository.commit("echo one >one.txt && mkdir folder && echo two >folder/two.txt")
    settings = {
        "max_concurrent_tasks": FAULT_PLACES,
        "max_tasks_per_user": count,
        "max_queued_per_user": count,
        "sweep_grace_seconds": 3,
        "log_level": "ERROR",
    }
    with E2BServerProcess() as cloud:
        started = time.perf_counter()
        with cloud_backend(cloud, bench.folder / "data", **settings) as backend:
            found = run_with_faults(backend, cloud, repository, count, FAULT_RUN_SECONDS)
        seconds = time.perf_counter() - started
    for mistake in found.wrong:
        print(mistake, file=sys.stderr)
    sandboxes = found.sandboxes
    ended = sandboxes["killed"] + sandboxes["crashed"] + sandboxes["expired"]
    lost = found.codes["sandbox_lost"]
    return [
        Figure("wrong results, untrue errors and secrets shown", len(found.wrong), "", 0),
        Figure("sandboxes left behind", sandboxes["created"] - ended, "", 0),
        Figure("tasks completed", found.codes["completed"], ""),
        Figure("tasks failed with sandbox_lost", lost, ""),
        Figure("tasks failed otherwise", count - found.codes["completed"] - lost, ""),
        Figure("requests", found.requests, ""),
        Figure("requests hit by a fault", found.fault_hits, ""),
        Figure("sandboxes made", sandboxes["created"], ""),
        Figure("sandboxes that crashed or expired", ended - sandboxes["killed"], ""),
        Figure("wall time", round(seconds, 1), "s"),
    ]


@dataclass(frozen=True, slots=True)
class _Run:
    result_seconds: float
    """Seconds from the first request to the last result."""

    seconds: float
    """Seconds until nothing runs any more, including the cloud."""

    server: Watch
    cloud: Watch

    def cpu_figures(self, count: int) -> list[Figure]:
        """Return the CPU time per task of the server and the fake, without git and the agent."""
        return [
            Figure(f"CPU of the {name}, per task", round(watch.cpu_seconds * 1000 / count, 1), "ms")
            for name, watch in (("server", self.server), ("fake cloud", self.cloud))
        ]


class _Setup:
    """Holds a server, the fake cloud it uses, and a repository with 20 files."""

    def __init__(self, bench: Bench, places: int = 1) -> None:
        self._folder = bench.folder
        self._places = places
        repository = make_repository(bench.folder / "small.git", files=20, commits=10)
        self.url = repository.as_uri()
        self.cloud = E2BServerProcess(bench.folder)

    @contextmanager
    def running(self) -> Iterator[_Setup]:
        """Run the server and the cloud until the block ends."""
        with self.cloud:
            self.cloud.add_fault("delay", seconds=DELAY_SECONDS)
            self.cloud.configure(niceness=NICENESS)
            places = str(self._places)
            settings = {
                **self.cloud.environment,
                "E2B_SMOKE_TEST": "true",
                "MAX_CONCURRENT_TASKS": places,
                "MAX_TASKS_PER_USER": places,
                "MAX_QUEUED_PER_USER": "1000",
            }
            with Server(self._folder / "server", settings) as self.server:
                yield self

    def run(self, count: int, prompt: str) -> _Run:
        """Start `count` tasks at once and wait until nothing runs any more."""
        request = self.server.start_task_request(self.url, prompt, branch=BRANCH)
        cloud = psutil.Process(self.cloud.pid)
        started = time.time()
        with Watch([self.server.process]) as server, Watch([cloud]) as fake:
            run_load(self.server.address, request, clients=count, requests=count)
            self.server.wait_until_idle(POLL_SECONDS)
        seconds = time.time() - started
        ended = [datetime.fromisoformat(task["completed_at"]) for task in self.server.tasks()]
        return _Run(max(ended).timestamp() - started, seconds, server, fake)

    def left_over(self) -> int:
        """Count the sandboxes, streams and processes that are left behind."""
        stats = self.cloud.stats()
        processes = len(list(processes_with(f"{MARKER}=".encode())))
        return int(stats["sandboxes"]["alive"] + stats["open_streams"] + processes)
