"""200 tasks posted at once: how long they take and what they leave behind."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import psutil

from benchmarks.figures import Bench, Figure
from benchmarks.load import run_load
from benchmarks.repositories import make_repository
from benchmarks.server import Server

THREADS_TARGET = 64
SAMPLE_SECONDS = 0.02


def two_hundred(bench: Bench) -> list[Figure]:
    """200 connections, one task each, on a repository of 20 files."""
    count = bench.size(200, 6)
    repository = make_repository(bench.folder / "small.git", files=20, commits=10)
    temporary = bench.folder / "tmp"
    temporary.mkdir()
    with Server(bench.folder / "server", {"TMPDIR": str(temporary)}) as server:
        before = len(list(_children(server)))
        request = server.start_task_request(str(repository), "Say what you were asked.")
        started = time.perf_counter()
        with _ThreadCount(server) as threads:
            run_load(server.address, request, clients=count, requests=count)
            server.wait_until_idle()
        seconds = time.perf_counter() - started
        completed = _completed(server)
        leftovers = len(list(_children(server))) - before + len(list(_files(server, temporary)))
    return [
        Figure("tasks completed", completed, "", count, "higher"),
        Figure("wall time", round(seconds, 2), "s"),
        Figure("tasks per second", round(completed / seconds, 1), "1/s"),
        Figure("threads at most", threads.most, "", THREADS_TARGET),
        Figure("processes and files left behind", leftovers, "", 0),
    ]


class _ThreadCount:
    """Watches how many threads the server's processes have together."""

    def __init__(self, server: Server) -> None:
        self.most = 0
        self._workers = server.workers()
        self._ending = Event()
        self._thread = Thread(target=self._watch)

    def __enter__(self) -> _ThreadCount:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ending.wait(SAMPLE_SECONDS):
            self.most = max(self.most, sum(worker.num_threads() for worker in self._workers))


def _completed(server: Server) -> int:
    completed, cursor = 0, ""
    while True:
        page = server.call("GET", f"/api/tasks{cursor}")
        completed += sum(task["status"] == "completed" for task in page["tasks"].values())
        if page["next_cursor"] is None:
            return int(completed)
        cursor = f"?cursor={page['next_cursor']}"


def _children(server: Server) -> Iterator[psutil.Process]:
    """Yield what the server started, also what has left it for another parent."""
    marker = f"ASYNC_CODE_SANDBOX={server.sandboxes}/".encode()
    for process in psutil.process_iter():
        try:
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
        except OSError:
            continue
        if marker in environment and process.pid != os.getpid():
            yield process


def _files(server: Server, temporary: Path) -> Iterator[Path]:
    yield from server.sandboxes.rglob("*")
    yield from temporary.rglob("*")
