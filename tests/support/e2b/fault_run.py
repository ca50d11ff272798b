"""Runs many tasks while every fifth request to the cloud fails, and checks their results."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.e2b.control import E2BControl
from tests.support.backends import Backend, Repository, Row, run
from tests.support.e2b.tasks import ended, wait_until_none_alive
from tests.support.stored_files import stored_files
from tests.support.waiting import eventually

EVERY = 5
FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "status", "status": 429},
    {"kind": "drop"},
    {"kind": "slow", "piece_bytes": 64, "seconds": 0.002},
    {"kind": "status", "status": 500},
    {"kind": "cut", "after_events": 1},
    {"kind": "crash"},
    {"kind": "drop", "when": "after"},
    {"kind": "status", "status": 502},
    {"kind": "delay", "seconds": 0.4},
    {"kind": "cut", "after_bytes": 90},
    {"kind": "status", "status": 503},
    {"kind": "expire"},
    {"kind": "split", "piece_bytes": 3},
    {"kind": "status", "status": 500, "when": "after"},
    {"kind": "cut", "seconds": 0.1},
    {"kind": "crash", "seconds": 0.3},
)
TRUTHFUL = {"e2b_unavailable", "e2b_rate_limited", "sandbox_lost"}
"""Error codes that a task may end with under these faults."""

TOKEN = "marked-token-of-the-faults"
"""The token of every task; only the clone may receive it."""


def add_faults(cloud: E2BControl) -> None:
    """Make every fifth request fail, with each kind of fault in turn, on any route."""
    for number, fault in enumerate(FAULTS):
        cloud.add_fault(**fault, every=EVERY * len(FAULTS), skip=EVERY * number)


def prompt(number: int) -> str:
    """Return the unique prompt of a task."""
    lines = "".join(f"print task {number} line {line} \u00e9\n" for line in range(20))
    return f"script:\n{lines}write made-{number}.txt content-{number}\\n\nerror note {number}\n"


@dataclass
class FaultRun:
    """The results of a run under faults."""

    codes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    sandboxes: dict[str, int] = field(default_factory=dict)
    fault_hits: int = 0
    requests: int = 0


def run_with_faults(
    backend: Backend, cloud: E2BControl, repository: Repository, count: int, seconds: float
) -> FaultRun:
    """Run `count` tasks at once under faults; wait until they and their sandboxes have ended."""
    found = FaultRun()
    add_faults(cloud)
    tasks = {
        backend.start(prompt(number), repository, github_token=TOKEN): number
        for number in range(count)
    }
    eventually(lambda: not backend.get("/health/ready")["queued"], seconds)
    eventually(lambda: not backend.get("/health/ready")["running"], seconds)
    requests = cloud.requests()
    stats = cloud.stats()
    found.fault_hits, found.requests = stats["fault_hits"], len(requests)
    cloud.remove_faults()
    for task_id, number in tasks.items():
        task = ended(backend, task_id)
        found.codes[task["error_code"] or task["status"]] += 1
        found.wrong += [f"task {task_id}: {what}" for what in mistakes(backend, task, number)]
        if task["error_code"] == "sandbox_lost":
            found.wrong += _not_lost(task, requests)
        if TOKEN in str(task) + str(backend.events(task_id)):
            found.wrong.append(f"task {task_id}: shows its token")
    found.wrong += tree_mistakes(backend, repository, tasks)
    found.wrong += [
        f"{path}: holds a token"
        for path, content in stored_files(backend.folder).items()
        if TOKEN.encode() in content
    ]
    found.sandboxes = wait_until_none_alive(cloud)
    return found


def mistakes(backend: Backend, task: Row, number: int) -> Iterator[str]:
    """Yield each wrong result and each error that does not match its cause."""
    if task["status"] == "failed":
        if task["error_code"] not in TRUTHFUL:
            yield f"failed with {task['error_code']}: {task['error']}"
        if task["error_stage"] not in {"cloning", "agent", "capturing"} or not task["error"]:
            yield f"failed at {task['error_stage']} with {task['error']}"
        return
    if task["status"] != "completed":
        yield f"is {task['status']}"
        return
    lines = "".join(f"task {number} line {line} \u00e9\n" for line in range(20))
    first = "scripted agent standing in for claude\n"
    if (printed := backend.output(task["id"])) != first + lines:
        yield f"printed {printed!r}"
    if (complained := backend.output(task["id"], "stderr")) != f"note {number}\n":
        yield f"complained {complained!r}"
    if task["changed_files"] != [f"made-{number}.txt"]:
        yield f"changed {task['changed_files']}"
    if f"+content-{number}\n" not in task["git_diff"]:
        yield f"has the diff {task['git_diff']!r}"
    if task["attempt"] != 1:
        yield f"took {task['attempt']} attempts"


def tree_mistakes(backend: Backend, repository: Repository, tasks: dict[int, int]) -> Iterator[str]:
    """Yield completed tasks whose patch does not produce the tree of the sandbox."""
    with tempfile.TemporaryDirectory() as name:
        index = {"GIT_INDEX_FILE": str(Path(name, "index"))}
        for task_id in tasks:
            task = backend.get(f"/tasks/{task_id}")["task"]
            if task["status"] != "completed":
                continue
            run(["git", "read-tree", "HEAD"], repository.folder, environment=index)
            patch = task["git_patch"].encode()
            run(["git", "apply", "--cached"], repository.folder, patch, environment=index)
            tree = run(["git", "write-tree"], repository.folder, environment=index)
            if tree.decode().strip() != task["execution_metadata"]["tree_hash"]:
                yield f"task {task_id}: the patch gives another tree"


def _not_lost(task: Row, requests: list[Row]) -> Iterator[str]:
    """Yield an error if `sandbox_lost` was reported although the server ended the sandbox."""
    kills = [one for one in requests if one["sandbox"] == task["container_id"]]
    if any(one["route"] == "kill" and one["status"] == 204 for one in kills):
        yield f"task {task['id']}: its sandbox was not lost"
