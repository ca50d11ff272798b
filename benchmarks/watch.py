"""Samples the threads, the memory and the CPU time of processes during a measurement."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event, Thread

import psutil

SAMPLE_SECONDS = 0.02

RUNTIME = "tokio"
"""The beginning of the names of threads that the HTTP client of E2B's SDK starts by itself."""


class Watch:
    """Records the peak of threads and memory of some processes. Use it in a `with` statement."""

    def __init__(self, processes: Sequence[psutil.Process]) -> None:
        self.threads = 0
        self.runtime_threads = 0
        """Those of them that were the SDK's."""
        self.peak_bytes = 0
        self._processes = processes
        self.bytes_before = self._bytes()
        self._cpu_before = self._cpu()
        self.cpu_seconds = 0.0
        self._ending = Event()
        self._thread = Thread(target=self._watch)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        self.cpu_seconds = self._cpu() - self._cpu_before

    def _watch(self) -> None:
        while not self._ending.wait(SAMPLE_SECONDS):
            threads = sum(one.num_threads() for one in self._processes)
            if threads > self.threads:
                self.threads, self.runtime_threads = threads, self._count_runtime()
            self.peak_bytes = max(self.peak_bytes, self._bytes())

    def _count_runtime(self) -> int:
        files = (Path(f"/proc/{one.pid}/task").glob("*/comm") for one in self._processes)
        return sum(_text(file).startswith(RUNTIME) for found in files for file in found)

    def _bytes(self) -> int:
        return sum(one.memory_info().rss for one in self._processes)

    def _cpu(self) -> float:
        times = [one.cpu_times() for one in self._processes]
        return sum(time.user + time.system for time in times)


def _text(file: Path) -> str:
    """Return what a file holds; nothing when its thread has ended."""
    try:
        return file.read_text()
    except OSError:
        return ""


def processes_with(marker: bytes) -> Iterator[psutil.Process]:
    """Yield all processes with this text in their environment."""
    for process in psutil.process_iter():
        try:
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
        except OSError:
            continue
        if marker in environment and process.pid != os.getpid():
            yield process
