"""Collects processor times of servers, each with that of the reference work beside it."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.cost.baseline import allowed
from benchmarks.cost.reference import Reference, processor_seconds
from benchmarks.figures import Figure
from benchmarks.server import Server

NOW, BEFORE = "now", "before"
REFERENCE = "reference work"


@dataclass(frozen=True, slots=True)
class _Sample:
    milliseconds: float
    units: float
    """The processor time as a multiple of that of the reference work in the same moment."""


class Samples:
    """Collects the samples of one benchmark, of the present server and of an earlier revision."""

    def __init__(self, benchmark: str, targets: Mapping[str, float]) -> None:
        self._benchmark = benchmark
        self._targets = targets
        self._found: defaultdict[tuple[str, str], list[_Sample]] = defaultdict(list)

    def take(
        self, name: str, what: str, server: Server, work: Callable[[], object], count: int
    ) -> None:
        """Take a sample of the server `name` while it does `count` pieces of the work."""
        with Reference() as reference:
            before = processor_seconds(server.process)
            work()
            spent = (processor_seconds(server.process) - before) / count
        self._found[name, what].append(_Sample(1_000 * spent, spent / reference.seconds))

    def forget(self) -> None:
        """Forget all samples: they have warmed up the servers."""
        self._found.clear()

    def figures(self) -> list[Figure]:
        """Return absolute times, the ratios to the earlier revision, and those of the baseline."""
        return [*self._absolute(), *self._compared(), *self._units()]

    def _absolute(self) -> list[Figure]:
        return [
            Figure(
                f"{what}, processor time" + (f", {name}" if name == BEFORE else ""),
                round(min(sample.milliseconds for sample in samples), 3),
                "ms",
                self._targets[what] if name == NOW else None,
            )
            for (name, what), samples in self._found.items()
        ]

    def _compared(self) -> list[Figure]:
        units = {key: self._lowest(*key) for key in self._found}
        return [
            Figure(f"{what}, {NOW} / {BEFORE}", round(units[NOW, what] / before, 2), "x")
            for (name, what), before in units.items()
            if name == BEFORE
        ]

    def _units(self) -> list[Figure]:
        return [
            Figure(
                title := f"{what} / {REFERENCE}",
                round(self._lowest(name, what), 4),
                "x",
                allowed(self._benchmark, title),
            )
            for name, what in self._found
            if name == NOW
        ]

    def _lowest(self, name: str, what: str) -> float:
        # Other programs only ever add to a sample. The second lowest, because they may also have
        # added to the reference work beside it.
        units = sorted(sample.units for sample in self._found[name, what])
        return statistics.mean(units[:2])
