"""Compares processor times with those of `baseline.json`.

They are multiples of the time of a fixed piece of work, so that they hold on every machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Results

FILE = Path(__file__).parents[1] / "baseline.json"
TOLERANCE = 1.25
"""Largest allowed multiple of the baseline: machines differ, and measurements too."""


def allowed(benchmark: str, figure: str) -> float | None:
    """Return the largest value that a figure may have, None if the baseline does not have it."""
    value = stored().get(benchmark, {}).get(figure)
    return None if value is None else round(TOLERANCE * value, 4)


def regressions(results: Results) -> Iterator[str]:
    """Yield a line for each figure that is larger than the baseline allows."""
    baseline = stored()
    for benchmark, figures in results.items():
        for figure in figures:
            value = baseline.get(benchmark, {}).get(figure.name)
            if value is not None and figure.value > TOLERANCE * value:
                more = round(100 * (figure.value / value - 1))
                yield f"{benchmark}: {figure.name} is {figure.value}, {more} % above the baseline"


def record(results: Results) -> None:
    """Replace the figures of the baseline with new ones."""
    baseline = stored()
    for benchmark, figures in results.items():
        if benchmark in baseline:
            found = {figure.name: figure.value for figure in figures}
            names = baseline[benchmark]
            baseline[benchmark] = {name: found.get(name, names[name]) for name in names}
    FILE.write_text(json.dumps(baseline, indent=2) + "\n")


def stored() -> dict[str, dict[str, float]]:
    """Return the figures of the baseline by benchmark and name."""
    read: dict[str, dict[str, float]] = json.loads(FILE.read_text())
    return read
