"""Measures requests with delays between the server and the project, and while it is away."""

from __future__ import annotations

import time

from benchmarks.figures import Bench, Figure
from benchmarks.http_load import PROMPT, load, small_repository
from benchmarks.server import Server
from benchmarks.supabase.project import MAIN, running_project, server_of
from tests.support.supabase.stack import SupabaseStack

DELAY_SECONDS = 0.05
CLIENTS = 32
OUTAGE_SECONDS = 20
OUTAGE_TASKS = 50
POLL_SECONDS = 0.2

OK, AWAY = 200, 503

POLL_TARGET_MS = 60
START_TARGET = 2
TASK_TARGET = 10
RATIO_TARGET = 2

NAP = "script:\nprint begun\nsleep {seconds}\nwrite task-{number}.txt {number}"
TWO_REQUESTS = ("-m", "benchmarks.supabase.two_requests")


def supabase_latency(bench: Bench) -> list[Figure]:
    """Measure a poll, a start and a simulated task, with database requests delayed by 50 ms."""
    repository = str(small_repository(bench))
    with running_project() as project, server_of(bench, project) as server:
        posted = server.call("POST", "/api/start-task", {"prompt": PROMPT, "repo_url": repository})
        server.wait_until_idle()
        project.delay(DELAY_SECONDS)
        request = server.request("GET", f"/api/task-status/{posted['task_id']}")
        load(server, request, clients=1, requests=bench.size(20, 1))
        poll = load(server, request, clients=1, requests=bench.size(100, 3))
        project.reset_requests()
        server.connection.send(request)
        per_poll = _requests(project)
        started, whole, seconds = [], [], []
        for _ in range(bench.size(10, 1)):
            project.reset_requests()
            begun = time.monotonic()
            server.connection.send(server.start_task_request(repository, PROMPT))
            seconds.append(time.monotonic() - begun)
            started.append(project.requests().get("POST /rest/v1/rpc/backend_create_task", 0))
            server.wait_until_idle()
            whole.append(_requests(project))
    return [
        Figure("status poll, p50", poll.p50, "ms", POLL_TARGET_MS),
        Figure("status poll, requests", per_poll, "", 1),
        Figure("start-task, requests", max(started), "", START_TARGET),
        Figure("start-task, p50", round(sorted(seconds)[len(seconds) // 2] * 1000, 1), "ms"),
        Figure("whole simulated task, most requests", max(whole), "", TASK_TARGET),
    ]


def supabase_polls(bench: Bench) -> list[Figure]:
    """Compare status polls of 32 clients with a server that sends two requests for each poll."""
    figures = []
    repository = str(small_repository(bench))
    with running_project() as project:
        for name, seconds in (("50 ms late", DELAY_SECONDS), ("at once", 0.0)):
            one = _polls(bench, project, seconds, repository)
            two = _polls(bench, project, seconds, repository, TWO_REQUESTS)
            target = RATIO_TARGET if seconds else None
            figures += [
                Figure(f"{name}, one request", one, "1/s"),
                Figure(f"{name}, two requests", two, "1/s"),
                Figure(f"{name}, ratio", round(one / two, 2), "", target, "higher"),
            ]
    return figures


def _polls(
    bench: Bench,
    project: SupabaseStack,
    delay_seconds: float,
    repository: str,
    program: tuple[str, ...] = MAIN,
) -> float:
    with server_of(bench, project, program=program) as server:
        body = {"prompt": PROMPT, "repo_url": repository}
        posted = server.call("POST", "/api/start-task", body)
        server.wait_until_idle()
        project.delay(delay_seconds)
        request = server.request("GET", f"/api/task-status/{posted['task_id']}")
        load(server, request, clients=CLIENTS, requests=bench.size(300, CLIENTS))
        found = load(server, request, clients=CLIENTS, requests=bench.size(3000, CLIENTS))
        project.delay(0)
    return found.per_second


def supabase_outage(bench: Bench) -> list[Figure]:
    """Stop PostgREST for 20 s while 50 tasks run."""
    count = bench.size(OUTAGE_TASKS, 4)
    away_seconds = bench.size(OUTAGE_SECONDS, 2)
    repository = str(small_repository(bench))
    settings = {"MAX_CONCURRENT_TASKS": str(count), "MAX_TASKS_PER_USER": str(count)}
    with running_project() as project, server_of(bench, project, settings=settings) as server:
        ids = []
        for number in range(count):
            prompt = NAP.format(seconds=away_seconds / 4, number=number)
            body = {"prompt": prompt, "repo_url": repository}
            ids.append(server.call("POST", "/api/start-task", body)["task_id"])
        while any(_status(server, task_id) in {"pending", None} for task_id in ids):
            time.sleep(POLL_SECONDS)
        project.stop_rest()
        end = time.monotonic() + away_seconds
        codes: set[int] = set()
        while time.monotonic() < end:
            codes.add(_poll(server, ids[0]))
            time.sleep(POLL_SECONDS)
        project.start_rest()
        begun = time.monotonic()
        while not all(_status(server, task_id) == "completed" for task_id in ids):
            time.sleep(POLL_SECONDS)
        seconds = time.monotonic() - begun
        right = sum(
            f"+{number}" in server.call("GET", f"/api/git-diff/{task_id}")["git_diff"]
            for number, task_id in enumerate(ids)
        )
    return [
        Figure("right results", right, f"of {count}", count, "higher"),
        Figure("polls are told to wait while away", int(AWAY in codes), "", 1, "higher"),
        Figure("other answers while away", len(codes - {OK, AWAY}), "", 0),
        Figure("all stored after", round(seconds, 1), "s"),
    ]


def _poll(server: Server, task_id: int) -> int:
    return server.connection.send(server.request("GET", f"/api/task-status/{task_id}")).status


def _status(server: Server, task_id: int) -> str | None:
    answer = server.connection.send(server.request("GET", f"/api/task-status/{task_id}"))
    return answer.json()["task"]["status"] if answer.status == OK else None


def _requests(project: SupabaseStack) -> int:
    # Heartbeats depend on time, not on tasks.
    return sum(count for name, count in project.requests().items() if "beat" not in name)
