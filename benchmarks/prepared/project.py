"""Measures when the agent of a task starts in a project with a setup of 20 seconds.

The first task runs the setup; the next ones start from its files. A changed setup runs again.
"""

from __future__ import annotations

import statistics
import time
from datetime import datetime
from typing import Any

from benchmarks.figures import Bench, Figure
from benchmarks.repositories import make_repository
from benchmarks.server import Server

POLL_SECONDS = 0.05
TARGET_SECONDS = 2.0
SETUP = """
sleep {seconds}
mkdir -p node_modules && cd node_modules
for package in $(seq {packages}); do
    mkdir "$package"
    for file in 1 2 3 4 5 6 7 8 9 10; do head -c 5000 /dev/zero >"$package/$file"; done
done
"""


def prepared_project(bench: Bench) -> list[Figure]:
    """Measure from the request to the start of the agent, with and without a snapshot."""
    seconds, packages, rounds = bench.size((20, 400, 10), (1, 5, 1))
    repository = make_repository(bench.folder / "sample.git", files=200, commits=20)
    setup = SETUP.format(seconds=seconds, packages=packages)
    with Server(bench.folder / "server") as server:
        settings = {"environment": {"setup": setup}}
        fields = {"name": "Prepared", "repo_url": str(repository), "settings": settings}
        project_id = server.call("POST", "/api/projects", fields)["project"]["id"]
        first = _until_agent(server, str(repository), project_id)
        later = [_until_agent(server, str(repository), project_id) for _ in range(rounds)]
        changed = {"settings": {"environment": {"setup": f"{setup}true"}}}
        server.call("PUT", f"/api/projects/{project_id}", changed)
        again = _until_agent(server, str(repository), project_id)
    return [
        Figure("first task, until the agent starts", round(first, 2), "s"),
        Figure("later tasks, median", round(statistics.median(later), 2), "s", TARGET_SECONDS),
        Figure("later tasks, slowest", round(max(later), 2), "s", TARGET_SECONDS),
        Figure("after a change of the setup", round(again, 2), "s", seconds, "higher"),
    ]


def _until_agent(server: Server, repo_url: str, project_id: int) -> float:
    """Run a task; return the seconds from its creation until its agent starts."""
    body = {"prompt": "Write it down.", "repo_url": repo_url, "project_id": project_id}
    task_id = server.call("POST", "/api/start-task", body)["task_id"]
    while True:
        task = server.call("GET", f"/api/task-status/{task_id}")["task"]
        if task["status"] == "completed":
            break
        if task["status"] == "failed":
            raise RuntimeError(f"a task failed: {task['error']}")
        time.sleep(POLL_SECONDS)
    events: list[dict[str, Any]] = server.call("GET", f"/api/tasks/{task_id}/events")["events"]
    [begun] = [one["at"] for one in events if one["data"].get("stage") == "agent"]
    created = datetime.fromisoformat(task["created_at"])
    return (datetime.fromisoformat(begun) - created).total_seconds()
