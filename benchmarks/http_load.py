"""Measures response times and throughput with one client and with many."""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.connection import connect, encode_request
from benchmarks.figures import Bench, Figure
from benchmarks.load import Load, run_load
from benchmarks.repositories import make_repository
from benchmarks.server import Server
from database import open_database
from utils.config.settings import Settings

MANY = 32
ALONE_TARGET_MS = 25
MANY_TARGET_MS = 60
STATUS_TARGET = 1_600
LIST_TARGET_MS = 15
PAGE_TARGET_BYTES = 150_000

SLOW = 12
IDLE = 1_100
BYTE_SECONDS = 5.0
P95_TARGET_MS = 100

_HEAD = b"POST /auth/token HTTP/1.1\r\nHost: localhost\r\n"
_BODY = _HEAD + b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"

PROMPT = "Write down what was asked, for a benchmark."
DIFF_LINES = 60


def start_task_latency(bench: Bench) -> list[Figure]:
    """Measure POST /start-task while the started tasks run."""
    repository = small_repository(bench)
    with Server(bench.folder / "server", {"MAX_QUEUED_PER_USER": "1000"}) as server:
        request = server.start_task_request(str(repository), PROMPT)
        load(server, request, clients=1, requests=bench.size(20, 1))
        server.wait_until_idle()
        alone = load(server, request, clients=1, requests=bench.size(100, 3))
        server.wait_until_idle()
        # Fewer than MAX_QUEUED_TASKS, so that none is refused.
        many = load(server, request, clients=MANY, requests=bench.size(900, MANY))
        server.wait_until_idle()
    return [
        Figure("one client, p50", alone.p50, "ms", ALONE_TARGET_MS),
        Figure("one client, p95", alone.p95, "ms"),
        Figure(f"{MANY} clients, p50", many.p50, "ms", MANY_TARGET_MS),
        Figure(f"{MANY} clients, p95", many.p95, "ms"),
        Figure(f"{MANY} clients, answers", many.per_second, "1/s"),
    ]


def task_status_throughput(bench: Bench) -> list[Figure]:
    """Measure GET /task-status of a completed small task."""
    repository = small_repository(bench)
    with Server(bench.folder / "server") as server:
        posted = server.call(
            "POST", "/api/start-task", {"prompt": PROMPT, "repo_url": str(repository)}
        )
        server.wait_until_idle()
        request = server.request("GET", f"/api/task-status/{posted['task_id']}")
        load(server, request, clients=MANY, requests=bench.size(1000, MANY))
        loads = {
            clients: load(server, request, clients=clients, requests=bench.size(8000, MANY))
            for clients in (8, MANY)
        }
    return [
        figure
        for clients, found in loads.items()
        for figure in (
            Figure(f"{clients} clients", found.per_second, "1/s", STATUS_TARGET, "higher"),
            Figure(f"{clients} clients, p50", found.p50, "ms"),
        )
    ]


def list_tasks(bench: Bench) -> list[Figure]:
    """Measure GET /tasks with the default page size, for a user with 2,000 tasks."""
    count = bench.size(2000, 50)
    folder = bench.folder / "server"
    with Server(folder) as server:
        _import_tasks(folder / "data", server.user_id, count)
        assert server.call("GET", "/api/tasks")["total_tasks"] == count
        request = server.request("GET", "/api/tasks")
        load(server, request, clients=1, requests=bench.size(50, 1))
        one = load(server, request, clients=1, requests=bench.size(300, 3))
    return [
        Figure("one client, p50", one.p50, "ms", LIST_TARGET_MS),
        Figure("one client, p95", one.p95, "ms"),
        Figure("page", one.bytes_per_answer, "bytes", PAGE_TARGET_BYTES),
    ]


def slow_clients(bench: Bench) -> list[Figure]:
    """Measure GET /ping while 12 clients send a byte every 5 s and 1,100 send nothing."""
    idle = bench.size(IDLE, 40)
    requests = bench.size(1_000, 20)
    _allow_open_files(2 * IDLE)
    with Server(bench.folder / "server") as server:
        ping = encode_request("GET", "/ping")
        quiet = load(server, ping, clients=1, requests=requests)
        with _attack(server.address, idle):
            attacked = load(server, ping, clients=1, requests=requests)
    return [
        Figure("quiet, p95", quiet.p95, "ms"),
        Figure(f"{SLOW} slow and {idle} idle connections, p95", attacked.p95, "ms", P95_TARGET_MS),
    ]


def small_repository(bench: Bench) -> Path:
    """Create a repository with twenty files and return its path."""
    return make_repository(bench.folder / "small.git", files=20, commits=10)


def load(server: Server, request: bytes, *, clients: int, requests: int) -> Load:
    """Run `run_load` against a server. Raises `RuntimeError` if a request failed."""
    found = run_load(server.address, request, clients=clients, requests=requests)
    if found.failures:
        raise RuntimeError(f"{found.failures} of {found.requests} requests failed")
    return found


def _import_tasks(data: Path, user_id: str, count: int) -> None:
    settings = Settings(data_dir=data, _env_file=None)
    database = open_database(settings)
    try:
        database.import_tasks(user_id, [finished_task(number) for number in range(count)])
    finally:
        database.close()


def finished_task(number: int) -> dict[str, Any]:
    """Return the row of a task that another backend has run."""
    name = f"package_{number % 7}/module_{number}.py"
    added = "".join(f"+line {line} of task {number}\n" for line in range(DIFF_LINES))
    diff = f"diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n@@ -0,0 +1 @@\n{added}"
    prompt = f"Task {number}: make the parts of {name} easier to test, and say what changed."
    return {
        "status": "completed",
        "agent": "claude",
        "repo_url": "https://github.com/example/example",
        "target_branch": "main",
        "commit_hash": uuid4().hex.ljust(40, "0"),
        "git_diff": diff,
        "git_patch": diff,
        "changed_files": [name],
        "chat_messages": [{"role": "user", "content": prompt, "timestamp": "2024-01-01T00:00:00Z"}],
        "execution_metadata": {"legacy_id": number},
    }


@contextmanager
def _attack(address: tuple[str, int], idle: int) -> Iterator[None]:
    ended = threading.Event()
    with ExitStack() as opened:
        for _ in range(idle):
            opened.enter_context(connect(address))
        slow = [opened.enter_context(connect(address)) for _ in range(SLOW)]
        for number, connection in enumerate(slow):
            connection.sendall(_BODY if number % 2 else _HEAD)
        trickle = threading.Thread(target=_trickle, args=(slow, ended))
        trickle.start()
        try:
            yield
        finally:
            ended.set()
            trickle.join()


def _trickle(connections: list[socket.socket], ended: threading.Event) -> None:
    while not ended.wait(BYTE_SECONDS):
        for connection in connections:
            try:
                connection.sendall(b"1")
            except OSError:  # the server has closed it
                continue


def _allow_open_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        most = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
