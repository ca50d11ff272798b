"""Compares a task on an idle server with a shell script that runs the same git commands.

It also compares one in an isolated sandbox with one in a local sandbox.

Each round takes one sample of every variant in random order, each on an idle server. The time of
a task ends with the first response that reports it as completed.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.figures import Bench, Figure
from benchmarks.git_server import GitServer
from benchmarks.repositories import BRANCH, make_repository
from benchmarks.server import Server

WAIT_SECONDS = 20
NOT_MODIFIED = 304
SETTLE_SECONDS = 0.05
FIRST_TARGET = 1.15
FILE_URL_TARGET = 1.3
LATER_TARGET = 0.4
ISOLATED_TARGET = 1.25
PLACES: Mapping[str, Mapping[str, str]] = {
    "local": {},
    "isolated": {"SANDBOX": "isolated", "E2B_SMOKE_TEST": "true"},
}
PROMPT = "Write down what was asked, for a benchmark."
BARE_SCRIPT = r"""#!/bin/sh -e
git clone -q --branch "$3" "$1" "$2"
cd "$2"
base=$(git rev-parse HEAD)
printf '## claude was asked\n\n%s\n\n' "$4" >AI_GENERATED.md
git add -A
git commit -q -m message
git diff --binary --full-index "$base" HEAD >../diff
git format-patch -q --binary --stdout "$base"..HEAD >../patch
"""
GIT_CONFIGURATION = "[user]\n\tname = Example\n\temail = example@example.invalid\n"

Sample = Callable[[int], float]


@dataclass(frozen=True, slots=True)
class _Ratio:
    task: str
    bare: str
    target: float | None


def task_small(bench: Bench) -> list[Figure]:
    """Measure a task in a repository of 20 files."""
    return _measure(bench, files=20, commits=10, rounds=bench.size(25, 1), later_target=None)


def task_medium(bench: Bench) -> list[Figure]:
    """Measure a task in a repository of 2,000 files and 500 commits."""
    files, commits = bench.size((2000, 500), (60, 10))
    rounds = bench.size(15, 1)
    return _measure(bench, files=files, commits=commits, rounds=rounds, later_target=LATER_TARGET)


def task_isolated(bench: Bench) -> list[Figure]:
    """Measure a task in a repository of 20 files, in isolated and in local sandboxes.

    The scripted agent takes hardly any time; beside that of a real agent the difference disappears.
    """
    repository = str(make_repository(bench.folder / "sample.git", files=20, commits=10))
    with ExitStack() as running:
        servers = {
            name: running.enter_context(Server(bench.folder / name, settings))
            for name, settings in PLACES.items()
        }
        variants: dict[str, Sample] = {
            f"task, {name}": partial(_sample, server, repository)
            for name, server in servers.items()
        }
        # The first task starts the supervisor.
        for sample in variants.values():
            sample(-1)
        times = take_rounds(list(servers.values()), variants, bench.size(40, 1))
    ratio = _Ratio("task, isolated", "task, local", ISOLATED_TARGET)
    return [*_ratio_figures((ratio,), times), *_time_figures(times)]


def _sample(server: Server, repository: str, _number: int) -> float:
    return run_task(server, repository)


def _measure(
    bench: Bench, *, files: int, commits: int, rounds: int, later_target: float | None
) -> list[Figure]:
    repository = make_repository(bench.folder / "sample.git", files=files, commits=commits)
    with GitServer(bench.folder) as git_server, Server(bench.folder / "server") as server:
        variants = _variants(bench.folder, repository, git_server, server)
        # The first samples only fill caches and the mirror.
        for number, sample in enumerate(variants.values()):
            sample(-1 - number)
        times = take_rounds([server], variants, rounds)
    ratios = (
        _Ratio("task, local repository", "script, local path", FIRST_TARGET),
        _Ratio("task, local repository", "script, file URL", FILE_URL_TARGET),
        _Ratio("first task, HTTP", "script, HTTP", FIRST_TARGET),
        _Ratio("later task, HTTP", "script, HTTP", later_target),
    )
    return [*_ratio_figures(ratios, times), *_time_figures(times)]


def _variants(
    folder: Path, repository: Path, git_server: GitServer, server: Server
) -> Mapping[str, Sample]:
    bare = BareScript(folder / "bare")

    def address(number: int) -> str:
        return git_server.url(f"first{number}", repository)

    same = git_server.url("same", repository)
    return {
        "script, local path": lambda _: bare.run(str(repository)),
        "script, file URL": lambda _: bare.run(repository.as_uri()),
        "task, local repository": lambda _: run_task(server, str(repository)),
        "script, HTTP": lambda _: bare.run(same),
        "first task, HTTP": lambda number: run_task(server, address(number)),
        "later task, HTTP": lambda _: run_task(server, same),
    }


def take_rounds(
    servers: Sequence[Server], variants: Mapping[str, Sample], rounds: int
) -> Mapping[str, list[float]]:
    """Take one sample of every variant in each round; return the results by variant."""
    chance = random.Random(2)
    times: defaultdict[str, list[float]] = defaultdict(list)
    for number in range(rounds):
        # Flush the writes of the last round now, not during a sample.
        os.sync()
        for name in chance.sample(list(variants), len(variants)):
            for server in servers:
                server.wait_until_idle()
            time.sleep(SETTLE_SECONDS)
            times[name].append(variants[name](number))
    return times


class BareScript:
    """Runs a script with the same work as the scripted agent and git, without a server."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._script = folder / "bare.sh"
        self._script.write_text(BARE_SCRIPT)
        (folder / ".gitconfig").write_text(GIT_CONFIGURATION)
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}

    def run(self, url: str) -> float:
        """Run the script; return its duration in seconds."""
        clone = self._folder / "clone"
        command = ["sh", "-e", str(self._script), url, str(clone), BRANCH, PROMPT]
        started = time.perf_counter()
        subprocess.run(command, env=self._environment, check=True)
        seconds = time.perf_counter() - started
        shutil.rmtree(clone)
        return seconds


def run_task(server: Server, repo_url: str, prompt: str = PROMPT) -> float:
    """Run a task; return the seconds until a response reports it as completed.

    It is told the branch, as the script is.
    """
    request = server.start_task_request(repo_url, prompt, branch=BRANCH)
    started = time.perf_counter()
    task_id = server.connection.send(request).json()["task_id"]
    path, etag = f"/api/task-status/{task_id}?wait={WAIT_SECONDS}", ""
    while True:
        # The answer comes when something has changed. Repeated polls would take time from the task.
        answer = server.connection.send(
            server.request("GET", path, headers={"If-None-Match": etag})
        )
        if answer.status == NOT_MODIFIED:
            continue
        task, etag = answer.json()["task"], answer.etag
        if task["status"] == "completed":
            return time.perf_counter() - started
        if task["status"] == "failed":
            raise RuntimeError(f"a task failed: {task['error']}")


def _ratio_figures(ratios: tuple[_Ratio, ...], times: Mapping[str, list[float]]) -> list[Figure]:
    return [
        Figure(
            f"{ratio.task} / {ratio.bare}",
            round(statistics.median(times[ratio.task]) / statistics.median(times[ratio.bare]), 3),
            "x",
            ratio.target,
        )
        for ratio in ratios
    ]


def _time_figures(times: Mapping[str, list[float]]) -> list[Figure]:
    return [
        Figure(f"{name}, median", round(statistics.median(times[name]) * 1000, 1), "ms")
        for name in sorted(times)
    ]
