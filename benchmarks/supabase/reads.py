"""Compares status polls with the row itself, and with a backend of the usual kind."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks.connection import encode_request
from benchmarks.figures import Bench, Figure
from benchmarks.http_load import PROMPT, small_repository
from benchmarks.load import Load, run_load
from benchmarks.server import ROOT, Server
from benchmarks.supabase.project import running_project, server_of
from tests.support.supabase.stack import SupabaseStack

CLIENTS = 8
ROW_TARGET = 2.5
USUAL_TARGET = 3
WAIT_SECONDS = 20


class Polled(NamedTuple):
    """An address, and the request that reads the same task there."""

    address: tuple[str, int]
    request: bytes


def supabase_reads(bench: Bench) -> list[Figure]:
    """Measure a status poll, the row through the gateway, and the other backend, in turn."""
    repository = str(small_repository(bench))
    with (
        running_project() as project,
        server_of(bench, project) as server,
        _usual(project) as usual,
    ):
        body = {"prompt": PROMPT, "repo_url": repository}
        task_id = server.call("POST", "/api/start-task", body)["task_id"]
        server.wait_until_idle()
        row = _row(project, task_id)
        poll = Polled(server.address, server.request("GET", f"/api/task-status/{task_id}"))
        same = Polled(usual, _usual_request(server, task_id))
        one, count = bench.size(20, 1), bench.size(100, 3)
        alone = _in_turn({"poll": poll, "row": row, "usual": same}, one, 1, count)
        rounds, count = bench.size(10, 1), bench.size(800, CLIENTS)
        many = _in_turn({"poll": poll, "usual": same}, rounds, CLIENTS, count)
    times = {name: statistics.median(load.p50 for load in found) for name, found in alone.items()}
    rates = {
        name: statistics.median(load.per_second for load in found) for name, found in many.items()
    }
    return [
        Figure("status poll / row, p50", round(times["poll"] / times["row"], 2), "x", ROW_TARGET),
        Figure("status poll, p50", round(times["poll"], 2), "ms"),
        Figure("row through the gateway, p50", round(times["row"], 2), "ms"),
        Figure("other backend, p50", round(times["usual"], 2), "ms"),
        Figure(
            f"{CLIENTS} clients, polls / other backend",
            round(rates["poll"] / rates["usual"], 2),
            "x",
            USUAL_TARGET,
            "higher",
        ),
        Figure(f"{CLIENTS} clients, polls", round(rates["poll"], 1), "1/s"),
        Figure(f"{CLIENTS} clients, other backend", round(rates["usual"], 1), "1/s"),
    ]


def _in_turn(
    polled: Mapping[str, Polled], rounds: int, clients: int, requests: int
) -> Mapping[str, list[Load]]:
    """Return the loads of each, after one that warms up."""
    found = defaultdict(list)
    for number in range(rounds + 1):
        for name, (address, request) in polled.items():
            load = run_load(address, request, clients=clients, requests=requests)
            if load.failures:
                raise RuntimeError(f"{name}: {load.failures} of {load.requests} requests failed")
            if number:
                found[name].append(load)
    return found


def _row(project: SupabaseStack, task_id: int) -> Polled:
    gateway = urlsplit(project.url)
    assert gateway.hostname
    assert gateway.port
    key = project.service_role_key
    path = f"/rest/v1/tasks?select=*&id=eq.{task_id}"
    request = encode_request("GET", path, token=key, headers={"apikey": key})
    return Polled((gateway.hostname, gateway.port), request)


def _usual_request(server: Server, task_id: int) -> bytes:
    return encode_request("GET", f"/task-status/{task_id}", headers={"X-User-ID": server.user_id})


@contextmanager
def _usual(project: SupabaseStack) -> Iterator[tuple[str, int]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.supabase.usual_backend"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **project.environment},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout
        address = urlsplit(process.stdout.readline().strip())
        if not address.hostname or not address.port:
            raise RuntimeError("the other backend did not start")
        yield address.hostname, address.port
    finally:
        process.terminate()
        process.communicate(timeout=WAIT_SECONDS)
