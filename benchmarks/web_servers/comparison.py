"""Compares this project's web server with others that serve the same application.

The others are installed into the working folder, because nothing else needs them. All servers are
started first and then asked in turn, so that other programs slow all of them alike. Each has one
process and the same number of threads, except hypercorn, which cannot be told one. None of the
others keeps the promises that `tests/server` checks.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import psutil

from benchmarks.figures import Bench, Figure
from benchmarks.http_load import MANY, PROMPT, load, small_repository
from benchmarks.server import POLL_SECONDS, ROOT, START_SECONDS, Server
from utils.config.groups.server import REQUEST_THREADS

PACKAGES = (
    "a2wsgi==1.10.10", "granian==2.8.9", "gunicorn==27.0.1", "hypercorn==0.18.0", "uvicorn==0.54.0",
)  # fmt: skip
OURS = "this server"
APPLICATION = "benchmarks.web_servers.application"
THREADS = str(REQUEST_THREADS)
OTHERS = {
    "gunicorn, gthread": (
        "gunicorn", "--bind=127.0.0.1:{port}", "--worker-class=gthread", f"--threads={THREADS}",
        "--keep-alive=60", f"{APPLICATION}:wsgi",
    ),
    "granian": (
        "granian", "--port={port}", "--interface=wsgi", f"--blocking-threads={THREADS}",
        f"{APPLICATION}:wsgi",
    ),
    "uvicorn, a2wsgi": (
        "uvicorn", "--port={port}", "--no-access-log", "--timeout-keep-alive=60",
        f"{APPLICATION}:asgi",
    ),
    "hypercorn": (
        "hypercorn", "--bind=127.0.0.1:{port}", "--keep-alive=60", f"wsgi:{APPLICATION}:wsgi",
    ),
}  # fmt: skip
POLLS = "polls a second"
COST = "processor time of a poll"
STARTS = "start-task a second"


def web_servers(bench: Bench) -> list[Figure]:
    """Poll and start tasks with 32 clients on this server and on four others, in turn."""
    repository = str(small_repository(bench))
    settings = {"MAX_QUEUED_PER_USER": "1000"}
    packages = _install(bench.folder / "packages")
    found: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    with ExitStack() as running:
        servers = {OURS: running.enter_context(Server(bench.folder / "ours", settings))}
        for name, program in OTHERS.items():
            other = _OtherServer(bench.folder / program[0], settings, program, packages)
            servers[name] = running.enter_context(other)
        polls = {name: _poll_request(server, repository) for name, server in servers.items()}
        for _ in range(bench.size(6, 1)):
            for name, server in servers.items():
                server.reconnect()
                before = _processor_seconds(server)
                polled = load(server, polls[name], clients=MANY, requests=bench.size(1_000, MANY))
                cost = (_processor_seconds(server) - before) / polled.requests
                found[name, POLLS].append(polled.per_second)
                found[name, COST].append(1_000_000 * cost)
                start = server.start_task_request(repository, PROMPT)
                started = load(server, start, clients=MANY, requests=bench.size(96, 4))
                found[name, STARTS].append(started.per_second)
                server.wait_until_idle()
    return _figures({key: statistics.median(values) for key, values in found.items()})


class _OtherServer(Server):
    """Another web server. It is killed at the end: it does not know how to stop the application."""

    def __init__(
        self, folder: Path, settings: dict[str, str], program: Iterable[str], packages: Path
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        arguments = (argument.format(port=self._port) for argument in program)
        super().__init__(
            folder, {**settings, "PYTHONPATH": f"{ROOT}:{packages}"}, ("-m", *arguments)
        )

    def _read_address(self) -> tuple[str, int]:
        address = ("127.0.0.1", self._port)
        over_at = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(address).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > over_at:
                    log = (self._folder / "server.log").read_text(errors="replace")
                    raise RuntimeError(f"the server did not start: {log[-2000:]}") from None
                time.sleep(POLL_SECONDS)
            else:
                return address

    def _stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        super()._stop()


def _install(folder: Path) -> Path:
    # As in run.sh: an environment that uv has made has no pip.
    pip, python = [sys.executable, "-m", "pip"], []
    if shutil.which("uv"):
        pip, python = ["uv", "pip"], ["--python", sys.executable]
    command = [*pip, "install", "--quiet", *python, "--target", str(folder), *PACKAGES]
    subprocess.run(command, stdout=sys.stderr, check=True)
    return folder


def _poll_request(server: Server, repository: str) -> bytes:
    server.reconnect()
    posted = server.connection.send(server.start_task_request(repository, PROMPT)).json()
    server.wait_until_idle()
    return server.request("GET", f"/api/task-status/{posted['task_id']}")


def _processor_seconds(server: Server) -> float:
    family: list[psutil.Process] = [server.process, *server.process.children(recursive=True)]
    times = [one.cpu_times() for one in family]
    return float(sum(one.user + one.system for one in times))


def _figures(medians: dict[tuple[str, str], float]) -> list[Figure]:
    ratios = [
        Figure(f"{what}, {OURS} / {name}", round(medians[OURS, what] / medians[name, what], 2), "x")
        for what in (POLLS, COST, STARTS)
        for name in OTHERS
    ]
    units = {POLLS: "1/s", COST: "µs", STARTS: "1/s"}
    own = [Figure(f"{what}, {OURS}", round(medians[OURS, what]), units[what]) for what in units]
    return [*ratios, *own]
