"""Defines the figures and parameters of benchmarks; formats figures as text, JSON and Markdown."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import psutil

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured number. One without a target is informative only."""

    name: str
    value: float
    unit: str
    target: float | None = None
    better: Literal["lower", "higher"] = "lower"

    @property
    def holds(self) -> bool | None:
        """True when the target is met; None without a target."""
        if self.target is None:
            return None
        return self.value <= self.target if self.better == "lower" else self.value >= self.target


@dataclass(frozen=True, slots=True)
class Bench:
    """The parameters of a benchmark: its working folder, and `quick` for small sizes.

    `against` is the folder of an older version of the project to compare with.
    """

    folder: Path
    quick: bool
    against: Path | None = None

    def size(self, full: T, quick: T) -> T:
        """Return the quick value in a quick run, the full value otherwise."""
        return quick if self.quick else full


Benchmark = Callable[[Bench], list[Figure]]
Results = Mapping[str, list[Figure]]

_HEADING = "\n## "
_HEAD = """# Measurements

`./run.sh bench --record` writes this page; `./run.sh bench --record NAME` replaces one section. The
docstrings in `benchmarks/` describe each benchmark. Ratios compare medians of alternating samples.
Figures without a target are informative only. If other programs used the CPU (see `load before`),
the figures are worse than on a quiet machine.
"""
_WORDS = {True: "yes", False: "no", None: ""}


def machine(folder: Path) -> dict[str, str]:
    """Describe this machine in general terms, with its load. Call it before the run."""
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": platform.system(),
        "python": platform.python_version(),
        "git": "".join(re.findall(r"[\d.]+\d", git)[:1]),
        "file system": _file_system(folder),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def as_json(results: Results, command: str, machine: Mapping[str, str]) -> dict[str, Any]:
    """Return all results as a JSON object."""
    return {
        "command": command,
        "date": _today(),
        "machine": machine,
        "benchmarks": {
            name: [{**asdict(figure), "holds": figure.holds} for figure in figures]
            for name, figures in results.items()
        },
    }


def as_table(name: str, figures: Iterable[Figure]) -> str:
    """Return the results of a benchmark as a table for the terminal."""
    rows = [
        f"  {figure.name:<60}{_number(figure.value):>10} {figure.unit:<6}"
        f"{_target(figure):>12}  {_WORDS[figure.holds]}".rstrip()
        for figure in figures
    ]
    return "\n".join([name, *rows])


def as_page(
    results: Results, machine: Mapping[str, str], earlier: str, names: Iterable[str]
) -> str:
    """Return the Markdown of RESULTS.md: these results, and the sections of an earlier page.

    Sections are in the order of `names`; others are left out.
    """
    _, *rest = earlier.split(_HEADING)
    kept = {section.partition("\n")[0]: section for section in rest}
    described = ", ".join(f"{what}: {how}" for what, how in machine.items())
    measured = f"Measured on {_today()}; {described}."
    new = {name: _section(name, figures, measured) for name, figures in results.items()}
    sections = kept | new
    return _HEADING.join([_HEAD, *(sections[name] for name in names if name in sections)])


def _section(name: str, figures: Iterable[Figure], measured: str) -> str:
    rows = [
        f"| {figure.name} | {_number(figure.value)} {figure.unit} | {_target(figure)} "
        f"| {_WORDS[figure.holds]} |"
        for figure in figures
    ]
    head = [name, "", measured, "", "| figure | value | target | holds |", "|---|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


def _number(value: float) -> str:
    return f"{value:,}"


def _target(figure: Figure) -> str:
    if figure.target is None:
        return ""
    sign = "<=" if figure.better == "lower" else ">="
    return f"{sign} {_number(figure.target)}"


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _file_system(folder: Path) -> str:
    mounts = [
        partition
        for partition in psutil.disk_partitions(all=True)
        if folder.is_relative_to(partition.mountpoint)
    ]
    return max(mounts, key=lambda mount: len(mount.mountpoint)).fstype if mounts else "unknown"
