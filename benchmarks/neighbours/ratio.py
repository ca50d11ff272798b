"""Compares the time of a task on a quiet server with that under the attacks of another user.

All times are of one run: each round takes a sample on the idle server and one under each attack.
The agent is a shell that runs the prompt, so that tasks can do what real agents could do.
"""

from __future__ import annotations

import os
import statistics
from collections import defaultdict
from pathlib import Path

from benchmarks.figures import Bench, Figure
from benchmarks.http_load import small_repository
from benchmarks.neighbours.attacks import (
    RESULT,
    Attack,
    Scene,
    chatty_host,
    flood_and_imports,
    large_result,
    serve_refusals,
    under,
)
from benchmarks.server import Server
from benchmarks.single_task import run_task

RATIO_TARGET = 1.5
SAMPLES = 3
QUIET = "quiet"

PROMPT = f"echo done >done.txt\n{RESULT}"
ATTACKS: dict[str, Attack] = {
    "large result": large_result,
    "chatty git host": chatty_host,
    "flood of output and imports": flood_and_imports,
}


def hostile_neighbour(bench: Bench) -> list[Figure]:
    """Measure a task while another user's large results, git host, output and imports are read."""
    repository = str(small_repository(bench))
    settings = {
        "SIMULATE_WITH_REAL_AGENT": "true",
        "ANTHROPIC_API_KEY": "sk-ant-not-a-key-of-anybody",
        "PATH": f"{shell_as_agent(bench.folder)}:{os.environ['PATH']}",
    }
    times: defaultdict[str, list[float]] = defaultdict(list)
    with Server(bench.folder / "server", settings) as server, serve_refusals() as host:
        scene = Scene(server, repository, host, bench.quick)
        run_task(server, repository, PROMPT)
        for _ in range(bench.size(6, 1)):
            for name in (QUIET, *ATTACKS):
                times[name] += _samples(server, scene, name, bench.size(SAMPLES, 1))
    usual = statistics.median(times[QUIET])
    ratios = [
        Figure(
            f"{name}, ratio", round(statistics.median(times[name]) / usual, 2), "x", RATIO_TARGET
        )
        for name in ATTACKS
    ]
    return [*ratios, *(_seconds(name, found) for name, found in times.items())]


def _samples(server: Server, scene: Scene, name: str, count: int) -> list[float]:
    server.wait_until_idle()
    if name == QUIET:
        return [run_task(server, scene.repository, PROMPT) for _ in range(count)]
    with under(ATTACKS[name], scene):
        return [run_task(server, scene.repository, PROMPT) for _ in range(count)]


def _seconds(name: str, found: list[float]) -> Figure:
    return Figure(f"{name}, median", round(statistics.median(found) * 1000, 1), "ms")


def shell_as_agent(folder: Path) -> Path:
    """Make an agent of a shell that runs the prompt; return the folder of its program."""
    tools = folder / "tools"
    tools.mkdir()
    program = tools / "claude"
    program.write_text("#!/bin/sh\nexec sh\n")
    program.chmod(0o755)
    return tools
