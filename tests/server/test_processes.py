"""Tests of a server of several processes: web processes that share a port, and a worker."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING
from uuid import uuid4

import psutil
import pytest

from tests.streams.event_stream import EventStream
from tests.support.database.samples import USER
from tests.support.live_server import (
    LiveServer,
    ServerFactory,
    WorkerFactory,
    is_alive,
    replace_in_prompts,
)
from tests.support.waiting import eventually
from utils.config.settings import Settings
from utils.database.migrations import migrate
from utils.server.web_server import EXIT_CONFIGURATION, EXIT_UNAVAILABLE

if TYPE_CHECKING:
    from tests.support.database.postgres_server import PostgresServer

pytestmark = pytest.mark.local_only("what processes share is the database")

LONG = "script:\nprint begun\nsleep 300\nwrite task.txt done"
ALL = {"web-1", "web-2", "worker"}


@pytest.fixture
def free_port() -> int:
    """Provide a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def database_url(postgres_server: PostgresServer) -> str:
    """Provide the address of a PostgreSQL with the task engine."""
    url = postgres_server.create(f"processes_{uuid4().hex}")
    migrate(Settings.model_validate({"database_url": url}), engine=True)
    return url


def processes(server: LiveServer) -> dict[str, psutil.Process]:
    """Return the running processes that a server has started, by their names."""
    found = {}
    for child in server.process.children():
        if is_alive(child) and "member" in (line := child.cmdline()):
            found[line[line.index("member") + 1]] = child
    return found


@contextmanager
def only(server: LiveServer, name: str) -> Iterator[None]:
    """Have the web process of this name accept the connections that are opened in the block."""
    others = [one for other, one in processes(server).items() if other not in {name, "worker"}]
    for other in others:
        other.suspend()
    try:
        yield
    finally:
        for other in others:
            other.resume()


def test_a_task_and_its_stream_survive_the_death_of_each_process_and_none_stays(
    new_server: ServerFactory, database_url: str, small_repository: str
) -> None:
    server = new_server(DATABASE_URL=database_url, HTTP_PROCESSES=2, SHUTDOWN_GRACE_SECONDS=0)
    server.start()
    assert "2 web processes and a worker" in server.output.read_text()
    first = processes(server)
    assert first.keys() == ALL
    with only(server, "web-1"):
        client = server.client(USER)
    task_id = client.start(LONG, small_repository)
    ticket = client.post("/events/ticket").body["ticket"]
    with only(server, "web-2"):
        stream = EventStream(server.port, f"/tasks/{task_id}/events?ticket={ticket}")
    with stream:
        stream.until("output")
        metrics = client.get("/metrics").body
        for name in ALL:
            assert f'process_cpu_seconds_total{{process="{name}"}}' in metrics
        assert "\nasync_code_workers " in metrics
        replace_in_prompts(database_url, "sleep 300", "sleep 0")
        first["worker"].kill()
        assert stream.until("end").data == {"status": "completed"}
    first["web-1"].kill()
    # The port is that of the others as well.
    assert server.client(USER).status(task_id)["status"] == "completed"
    again = eventually(lambda: processes(server) if processes(server).keys() == ALL else None)
    assert again["web-2"].pid == first["web-2"].pid
    assert {again[name].pid for name in ALL}.isdisjoint({first["web-1"].pid, first["worker"].pid})
    assert server.terminate() == 0
    assert not any(is_alive(child) for child in again.values())


def test_a_worker_answers_for_its_metrics_and_health_on_loopback_and_for_nothing_else(
    new_worker: WorkerFactory, database_url: str, free_port: int
) -> None:
    worker = new_worker(
        DATABASE_URL=database_url,
        SECRET_KEY="0123456789abcdef" * 2,
        METRICS_PORT=free_port,
        METRICS_TOKEN="letters-for-metrics",
    )
    worker.start()
    allowed = {"Authorization": "Bearer letters-for-metrics"}
    assert ask(free_port, "/metrics")[0] == HTTPStatus.UNAUTHORIZED
    status, text = ask(free_port, "/metrics", allowed)
    assert (status, b"\nasync_code_tasks_running 0.0\n" in text) == (HTTPStatus.OK, True)
    status, text = ask(free_port, "/health")
    name = (worker.data_dir / "server").read_text()
    assert (status, json.loads(text)) == (HTTPStatus.OK, {"worker": name, "running": 0})
    assert ask(free_port, "/ping")[0] == HTTPStatus.NOT_FOUND
    other = new_worker(
        DATABASE_URL=database_url, SECRET_KEY="0123456789abcdef" * 2, METRICS_PORT=free_port
    )
    other.launch()
    assert other.wait() == EXIT_CONFIGURATION
    assert f"METRICS_PORT {free_port} cannot be used" in other.output.read_text()


def ask(port: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with closing(connection):
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_no_process_is_left_behind_by_a_parent_that_is_killed(
    new_server: ServerFactory, database_url: str
) -> None:
    server = new_server(DATABASE_URL=database_url, WORK="false", HTTP_PROCESSES=2)
    server.start()
    children = processes(server)
    assert children.keys() == ALL - {"worker"}
    client = server.client(USER)
    assert client.get("/health/ready").body["workers"] == 0
    refused = client.post("/v1/sandboxes")
    assert (refused.code, refused.body["code"]) == (503, "sandbox_unavailable")
    assert "HTTP_PROCESSES" in refused.body["error"]
    server.kill()
    eventually(lambda: not any(is_alive(child) for child in children.values()))


def test_processes_that_cannot_start_say_so_once(new_server: ServerFactory) -> None:
    server = new_server(HTTP_PROCESSES=2)
    server.launch()
    assert server.wait() == EXIT_CONFIGURATION
    assert "HTTP_PROCESSES above 1 needs a database" in server.output.read_text()
    url = "postgresql://nobody@127.0.0.1:1/nothing"
    server.launch(DATABASE_URL=url)
    assert server.wait() == EXIT_UNAVAILABLE
    assert server.output.read_text().count("cannot start: ") == 1
