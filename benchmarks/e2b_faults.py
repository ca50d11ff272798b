"""Runs 300 tasks in cloud sandboxes while every fifth request to the cloud fails."""

from __future__ import annotations

import sys
import time

from benchmarks.figures import Bench, Figure
from tests.fakes.e2b.control import E2BServerProcess
from tests.support.backends import Repository
from tests.support.e2b_fault_run import run_with_faults
from tests.support.e2b_tasks import cloud_backend

PLACES = 60
LONGEST_SECONDS = 900


def e2b_faults(bench: Bench) -> list[Figure]:
    """Check that each task ends with its result or a correct error and leaves no sandbox behind."""
    count = bench.size(300, 10)
    repository = Repository(bench.folder / "repository")
    repository.commit("echo one >one.txt && mkdir folder && echo two >folder/two.txt")
    settings = {
        "max_concurrent_tasks": PLACES,
        "max_tasks_per_user": count,
        "sweep_grace_seconds": 3,
        "log_level": "ERROR",
    }
    with E2BServerProcess() as cloud:
        started = time.perf_counter()
        with cloud_backend(cloud, bench.folder / "data", **settings) as backend:
            found = run_with_faults(backend, cloud, repository, count, LONGEST_SECONDS)
        seconds = time.perf_counter() - started
    for mistake in found.wrong:
        print(mistake, file=sys.stderr)
    sandboxes = found.sandboxes
    ended = sandboxes["killed"] + sandboxes["crashed"] + sandboxes["expired"]
    lost = found.codes["sandbox_lost"]
    return [
        Figure("wrong results, untrue errors and secrets shown", len(found.wrong), "", 0),
        Figure("sandboxes left behind", sandboxes["created"] - ended, "", 0),
        Figure("tasks completed", found.codes["completed"], ""),
        Figure("tasks failed with sandbox_lost", lost, ""),
        Figure("tasks failed otherwise", count - found.codes["completed"] - lost, ""),
        Figure("requests", found.requests, ""),
        Figure("requests hit by a fault", found.fault_hits, ""),
        Figure("sandboxes made", sandboxes["created"], ""),
        Figure("sandboxes that crashed or expired", ended - sandboxes["killed"], ""),
        Figure("wall time", round(seconds, 1), "s"),
    ]
