"""Measures 200 tasks that are started at once, and counts what they leave behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.figures import Bench, Figure
from benchmarks.load import run_load
from benchmarks.repositories import make_repository
from benchmarks.server import Server
from benchmarks.watch import Watch, processes_with

THREADS_TARGET = 64


def two_hundred(bench: Bench) -> list[Figure]:
    """Start 200 tasks over 200 connections, in a repository of 20 files."""
    count = bench.size(200, 6)
    repository = make_repository(bench.folder / "small.git", files=20, commits=10)
    temporary = bench.folder / "tmp"
    temporary.mkdir()
    with Server(bench.folder / "server", {"TMPDIR": str(temporary)}) as server:
        before = len(list(_children(server)))
        request = server.start_task_request(str(repository), "Say what you were asked.")
        started = time.perf_counter()
        with Watch([server.process]) as watch:
            run_load(server.address, request, clients=count, requests=count)
            server.wait_until_idle()
        seconds = time.perf_counter() - started
        completed = server.completed_tasks()
        leftovers = len(list(_children(server))) - before + len(list(_files(server, temporary)))
    return [
        Figure("tasks completed", completed, "", count, "higher"),
        Figure("wall time", round(seconds, 2), "s"),
        Figure("tasks per second", round(completed / seconds, 1), "1/s"),
        Figure("threads at most", watch.threads, "", THREADS_TARGET),
        Figure("processes and files left behind", leftovers, "", 0),
    ]


def _children(server: Server) -> Iterator[psutil.Process]:
    """Yield all processes that the server started, even those with another parent by now."""
    return processes_with(f"ASYNC_CODE_SANDBOX={server.sandboxes}/".encode())


def _files(server: Server, temporary: Path) -> Iterator[Path]:
    yield from server.sandboxes.rglob("*")
    yield from temporary.rglob("*")
