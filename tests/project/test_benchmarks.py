"""Each benchmark runs and reports its figures; their values are not checked here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import BENCHMARKS, LONG
from benchmarks.cost.baseline import TOLERANCE, regressions, stored
from benchmarks.figures import Figure, as_page, machine
from tests.support.source_files import ROOT

FIGURES = {
    "task_small": {"task, local repository / script, local path", "first task, HTTP, median"},
    "task_medium": {"later task, HTTP / script, HTTP", "script, file URL, median"},
    "task_isolated": {"task, isolated / task, local", "task, isolated, median"},
    "start_task_latency": {"one client, p50", "32 clients, p50"},
    "task_status_throughput": {"8 clients", "32 clients"},
    "request_cost": {"status poll, processor time", "start-task / reference work"},
    "task_cost": {"local task, processor time", "E2B task / reference work"},
    "large_results": {"one patch of 10 MB, growth", "one patch of 10 MB, growth / patch"},
    "list_tasks": {"one client, p50", "page"},
    "slow_clients": {"quiet, p95", "12 slow and 40 idle connections, p95"},
    "event_streams": {"out of order, lost or repeated", "from write to arrival, p99"},
    "polls_beside_streams": {"32 clients", "ratio"},
    "archive_beside_polls": {"tasks archived", "ratio"},
    "web_servers": {
        "polls a second, this server / granian",
        "start-task a second, this server / gunicorn, gthread",
    },
    "hostile_neighbour": {"large result, ratio", "chatty git host, ratio", "quiet, median"},
    "two_hundred": {"tasks completed", "threads at most", "processes and files left behind"},
    "two_http_processes": {"polls, two processes / one", "part of the busier process"},
    "task_engine": {
        "a task on an idle server, with the engine",
        "processor time, database, without",
    },
    "create_pull_request": {"first call, median", "second call, median", "objects fetched"},
    "prepared_project": {"first task, until the agent starts", "later tasks, median"},
    "push_result": {"first push, median", "objects fetched", "bytes fetched"},
    "e2b_faults": {"wrong results, untrue errors and secrets shown", "sandboxes left behind"},
    "e2b_task": {"task less script", "round trips at most"},
    "e2b_twenty": {"tasks completed", "tasks per second"},
    "e2b_long_agents": {"tasks of 20 s, wall time", "task of 70 s completed"},
    "e2b_five_hundred": {"tasks completed", "wall time", "memory growth per task"},
    "supabase_latency": {"status poll, p50", "whole simulated task, most requests"},
    "supabase_polls": {"50 ms late, ratio", "at once, ratio"},
    "supabase_reads": {"status poll / row, p50", "8 clients, polls / other backend"},
    "supabase_outage": {"right results", "other answers while away"},
}


# Installs other servers from the network, which no test may depend on.
BY_HAND = {"web_servers"}
NAMES = sorted(set(FIGURES) - BY_HAND)

AT_ONCE = 3

Document = dict[str, Any]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    """Provide what runs of the benchmarks in their smallest form write."""
    # At the same time, because most of them wait, and nothing here depends on how long they take.
    parts = [NAMES[first::AT_ONCE] for first in range(AT_ONCE)]
    folders = [tmp_path_factory.mktemp("benchmarks") for _ in parts]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        written, *others = pool.map(run_benchmarks, parts, folders)
    for other in others:
        assert other.keys() == written.keys()
        written["benchmarks"] |= other["benchmarks"]
    return written


def run_benchmarks(names: Sequence[str], folder: Path) -> Document:
    """Run some benchmarks and return what they write."""
    file = folder / "figures.json"
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks", *names),
            *("--quick", "--json", str(file), "--folder", str(folder)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    written: Document = json.loads(file.read_text())
    assert json.loads(finished.stdout) == written
    return written


def test_every_benchmark_has_expected_figures() -> None:
    assert set(FIGURES) == set(BENCHMARKS)


def test_the_baseline_names_figures_that_exist() -> None:
    assert set(BENCHMARKS) > LONG
    for benchmark, names in stored().items():
        assert FIGURES[benchmark] & set(names)


@pytest.mark.parametrize(("factor", "is_reported"), [(TOLERANCE - 0.01, False), (1.26, True)])
def test_a_figure_is_held_against_the_baseline(factor: float, is_reported: bool) -> None:
    for benchmark, names in stored().items():
        for name, value in names.items():
            figure = Figure(name, value * factor, "x")
            assert bool(list(regressions({benchmark: [figure]}))) is is_reported


# The first of them waits for all benchmarks; some start four servers, one after the other.
@pytest.mark.timeout(600)
@pytest.mark.exhaustive("CI measures task_cost each time")
@pytest.mark.parametrize("name", NAMES)
def test_a_quick_run_reports_every_figure(document: Document, name: str) -> None:
    assert set(document) == {"command", "date", "machine", "benchmarks"}
    figures = {figure["name"]: figure for figure in document["benchmarks"][name]}
    assert set(figures) >= FIGURES[name]
    for figure in figures.values():
        assert set(figure) == {"name", "value", "unit", "target", "better", "holds"}
        assert (figure["holds"] is None) == (figure["target"] is None)


@pytest.mark.parametrize(
    ("figure", "holds"),
    [
        (Figure("a", 1, "s", 1), True),
        (Figure("a", 2, "s", 1), False),
        (Figure("a", 2, "s", 1, "higher"), True),
        (Figure("a", 0, "s", 1, "higher"), False),
        (Figure("a", 2, "s"), None),
    ],
)
def test_a_figure_compares_its_value_with_its_target(figure: Figure, holds: bool | None) -> None:
    assert figure.holds is holds


def test_the_page_replaces_what_was_measured_and_keeps_the_rest(tmp_path: Path) -> None:
    def page(value: float, earlier: str, *names: str) -> str:
        results = {name: [Figure("time", value, "ms", 5)] for name in names}
        return as_page(results, machine(tmp_path), earlier, ["one", "two", "three"])

    first = page(1200, "", "one", "three", "unknown")
    assert "| time | 1,200 ms | <= 5 | no |" in first
    assert str(tmp_path) not in first
    second = page(4, first, "two", "three")
    one, two, three = second.split("\n## ")[1:]
    assert one in first
    assert (two.partition("\n")[0], three.partition("\n")[0]) == ("two", "three")
    assert "| time | 4 ms | <= 5 | yes |" in two
    assert "1,200" not in three
