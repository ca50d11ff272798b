"""Runs the benchmarks behind `./run.sh bench`.

    python -m benchmarks [NAME ...] [--all] [--json FILE] [--record | --quick] [--folder FOLDER]
                         [--against REV] [--check]

Without names it leaves out those that take long. The exit code is 0 even if targets
are missed; with `--check` it is 1 if a figure is too far above the baseline.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from benchmarks.cost import baseline
from benchmarks.cost.http_processes import two_http_processes
from benchmarks.cost.memory import large_results
from benchmarks.cost.requests import request_cost
from benchmarks.cost.task_engine import task_engine
from benchmarks.cost.tasks import task_cost
from benchmarks.e2b import e2b_faults, e2b_five_hundred, e2b_long_agents, e2b_task, e2b_twenty
from benchmarks.figures import Bench, Benchmark, Results, as_json, as_page, as_table, machine
from benchmarks.http_load import (
    list_tasks,
    slow_clients,
    start_task_latency,
    task_status_throughput,
)
from benchmarks.neighbours.archive import archive_beside_polls
from benchmarks.neighbours.ratio import hostile_neighbour
from benchmarks.prepared.project import prepared_project
from benchmarks.pull_request import create_pull_request, push_result
from benchmarks.server import ROOT
from benchmarks.single_task import task_isolated, task_medium, task_small
from benchmarks.streams.measure import event_streams, polls_beside_streams
from benchmarks.supabase.reads import supabase_reads
from benchmarks.supabase.requests import supabase_latency, supabase_outage, supabase_polls
from benchmarks.two_hundred import two_hundred
from benchmarks.web_servers.comparison import web_servers

BENCHMARKS: dict[str, Benchmark] = {
    run.__name__: run
    for run in (
        task_small,
        task_medium,
        task_isolated,
        start_task_latency,
        task_status_throughput,
        request_cost,
        task_cost,
        large_results,
        list_tasks,
        slow_clients,
        event_streams,
        polls_beside_streams,
        archive_beside_polls,
        web_servers,
        hostile_neighbour,
        two_hundred,
        task_engine,
        two_http_processes,
        prepared_project,
        push_result,
        create_pull_request,
        e2b_faults,
        e2b_task,
        e2b_twenty,
        e2b_long_agents,
        e2b_five_hundred,
        supabase_latency,
        supabase_polls,
        supabase_reads,
        supabase_outage,
    )
}
LONG = {
    "large_results",
    "hostile_neighbour",
    "e2b_long_agents",
    "e2b_five_hundred",
    "event_streams",
    "archive_beside_polls",
    "web_servers",
    "prepared_project",
    "task_engine",
    "two_http_processes",
}
"""Benchmarks that run only by name or with `--all`: they take minutes, or install other servers."""

RESULTS_FILE = Path(__file__).with_name("RESULTS.md")
MEMORY = Path("/dev/shm")


def main(arguments: Sequence[str]) -> int:
    """Run the selected benchmarks and print their results."""
    options = _parse(arguments)
    # Standard output is for the figures alone.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    command = " ".join(["./run.sh bench", *arguments])
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as name:
        folder = Path(name).resolve()
        described = machine(folder)
        against = _unpacked(options.against, folder / "against") if options.against else None
        bench = Bench(folder, options.quick, against)
        results = _run(_selected(options), bench)
        failures = _check(results, bench) if options.check else []
        document = json.dumps(as_json(results, command, described), indent=2)
        if options.record:
            earlier = RESULTS_FILE.read_text()
            RESULTS_FILE.write_text(as_page(results, described, earlier, BENCHMARKS))
            baseline.record(results)
    print(document)
    if options.json:
        options.json.write_text(f"{document}\n")
    return 1 if failures else 0


def _check(results: Results, bench: Bench) -> list[str]:
    """Return the figures that are too far above the baseline, also when they are measured again."""
    first = [name for name in results if list(baseline.regressions({name: results[name]}))]
    again = _run(first, replace(bench, folder=bench.folder / "again"))
    failures = list(baseline.regressions(again))
    for line in failures:
        print(line, file=sys.stderr)
    return failures


def _selected(options: argparse.Namespace) -> list[str]:
    if options.names:
        return list(options.names)
    return [name for name in BENCHMARKS if options.all or name not in LONG]


def _run(names: Sequence[str], bench: Bench) -> Results:
    results = {}
    for name in names:
        own = bench.folder / name
        own.mkdir(parents=True)
        started = time.monotonic()
        results[name] = BENCHMARKS[name](replace(bench, folder=own))
        took = f"{name} ({time.monotonic() - started:.0f} s)"
        print(as_table(took, results[name]), file=sys.stderr, flush=True)
    return results


def _unpacked(revision: str, folder: Path) -> Path:
    command = ["git", "archive", "--format=tar", "--end-of-options", revision]
    packed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run.sh bench", description="Measures the backend.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument(
        "--all", action="store_true", help=f"run also what takes long: {', '.join(sorted(LONG))}"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="fail if a processor time is more than a quarter above benchmarks/baseline.json",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the results to this file too"
    )
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument(
        "--record", action="store_true", help="write the results to benchmarks/RESULTS.md"
    )
    sizes.add_argument(
        "--quick",
        action="store_true",
        help="run with small sizes, only to check that everything works",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=MEMORY if MEMORY.is_dir() else None,
        help="working folder; by default in memory, because a disk distorts the results",
    )
    parser.add_argument(
        "--against", metavar="REV", help="compare with this revision, where a benchmark can"
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(
            f"unknown benchmark: {', '.join(unknown)}; choose from {', '.join(BENCHMARKS)}"
        )
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
