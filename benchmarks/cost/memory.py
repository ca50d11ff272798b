"""Measures the memory of a server whose tasks have large patches.

The agent is a shell that runs the prompt. The peak is that of the process of the server alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.figures import Bench, Figure
from benchmarks.http_load import load, small_repository
from benchmarks.neighbours.attacks import RESULT
from benchmarks.neighbours.ratio import shell_as_agent
from benchmarks.server import Server
from benchmarks.watch import Watch

MEGABYTE = 1_000_000
MANY_TARGET_MB = 1_000
POLL_SECONDS = 0.5

# Of what cannot be compressed, in lines, so that the patch is a little larger.
_WRITE = f"head -c BYTES /dev/urandom | base64 -w 76 >large.txt\n{RESULT}"


def large_results(bench: Bench) -> list[Figure]:
    """Run one task with a patch of 10 MB, 20 at once, and 500 with patches of 1 MB at once."""
    large, small = bench.size((7 * MEGABYTE, 700_000), (70_000, 7_000))
    several, many = bench.size((20, 500), (2, 3))
    one = _growth(bench, "one", 1, large)
    few = _growth(bench, "several", several, large)
    crowd = _growth(bench, "many", many, small)
    patch = large * 4 / 3 / MEGABYTE
    return [
        Figure("one patch of 10 MB, growth", round(one.growth_mb), "MB"),
        Figure("one patch of 10 MB, growth / patch", round(one.growth_mb / patch, 1), "x"),
        Figure(f"{several} patches of 10 MB at once, growth", round(few.growth_mb), "MB"),
        Figure(f"{many} patches of 1 MB at once, growth", round(crowd.growth_mb), "MB"),
        Figure(f"{many} patches of 1 MB at once, peak", round(crowd.peak_mb), "MB", MANY_TARGET_MB),
    ]


class _Growth:
    def __init__(self, watch: Watch) -> None:
        self.peak_mb = watch.peak_bytes / MEGABYTE
        self.growth_mb = (watch.peak_bytes - watch.bytes_before) / MEGABYTE


def _growth(bench: Bench, name: str, count: int, size: int) -> _Growth:
    with _server(bench, name, count) as (server, url):
        request = server.start_task_request(url, RESULT)
        load(server, request, clients=1, requests=1)
        server.wait_until_idle()
        request = server.start_task_request(url, _WRITE.replace("BYTES", str(size)))
        with Watch([server.process]) as watch:
            load(server, request, clients=min(count, 50), requests=count)
            server.wait_until_idle(POLL_SECONDS)
        completed = server.completed_tasks()
    if completed != count + 1:
        raise RuntimeError(f"only {completed} of {count + 1} tasks have completed")
    return _Growth(watch)


@contextmanager
def _server(bench: Bench, name: str, places: int) -> Iterator[tuple[Server, str]]:
    folder = bench.folder / name
    folder.mkdir()
    repository = small_repository(Bench(folder, bench.quick))
    settings = {
        "SIMULATE_WITH_REAL_AGENT": "true",
        "ANTHROPIC_API_KEY": "sk-ant-not-a-key-of-anybody",
        "PATH": f"{shell_as_agent(folder)}:{os.environ['PATH']}",
        "MAX_CONCURRENT_TASKS": str(places),
        "MAX_TASKS_PER_USER": str(places),
        "MAX_QUEUED_PER_USER": "1000",
    }
    with Server(folder / "server", settings) as server:
        yield server, str(repository)
