"""Shows the metrics of all processes of a server, whichever of them is asked.

Each process writes its own into a file of the shared folder, every few seconds. They are told apart
by the label `process`, so that a process that starts again is a counter that starts again.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from utils.siblings.member import Member

WRITE_SECONDS = 5.0

OF_ALL = frozenset(
    {
        "async_code_build",
        "async_code_oldest_waiting_seconds",
        "async_code_tasks_queued",
        "async_code_workers",
    }
)
"""Metrics that are the same in all processes, because they come from the database."""

_SUFFIX = ".metrics"

log = structlog.get_logger(__name__)


class SharedMetrics(Collector):
    """Writes the metrics of this process, and collects those of all."""

    def __init__(self, member: Member, registry: CollectorRegistry) -> None:
        self._member = member
        self._registry = registry
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shared metrics", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write no more, and remove the file."""
        self._is_stopping.set()
        self._thread.join()
        forget_metrics(self._member)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of all processes, those of this one as they are now."""
        families: dict[str, Metric] = {}
        for metric in self._registry.collect():
            if metric.name in OF_ALL:
                yield metric
            else:
                _add(families, metric, self._member.name)
        for path in sorted(self._member.folder.glob(f"*{_SUFFIX}")):
            if path.name != f"{self._member.name}{_SUFFIX}":
                for metric in _read(path):
                    _add(families, metric, path.name.removesuffix(_SUFFIX))
        yield from families.values()

    def _run(self) -> None:
        while True:
            try:
                _write(_path(self._member), self._registry.collect())
            except OSError as error:
                # A full disk is told elsewhere; the metrics of this process are those of before.
                log.debug("metrics not written", action="metrics.unwritten", reason=error.strerror)
            if self._is_stopping.wait(WRITE_SECONDS):
                return


def forget_metrics(member: Member) -> None:
    """Remove what a process that has ended has told."""
    with suppress(OSError):
        _path(member).unlink(missing_ok=True)


def _path(member: Member) -> Path:
    return member.folder / f"{member.name}{_SUFFIX}"


def _add(families: dict[str, Metric], metric: Metric, process: str) -> None:
    family = families.setdefault(
        metric.name, Metric(metric.name, metric.documentation, metric.type, metric.unit)
    )
    family.samples += [
        sample._replace(labels={**sample.labels, "process": process}) for sample in metric.samples
    ]


def _write(path: Path, metrics: Iterable[Metric]) -> None:
    found = [
        [
            metric.name,
            metric.documentation,
            metric.type,
            metric.unit,
            [[sample.name, sample.labels, sample.value] for sample in metric.samples],
        ]
        for metric in metrics
        if metric.name not in OF_ALL
    ]
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(found), encoding="utf-8")
    draft.replace(path)


def _read(path: Path) -> Iterator[Metric]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # The process has ended in this moment.
        return
    for name, text, kind, unit, samples in found:
        metric = Metric(name, text, kind, unit)
        metric.samples = [Sample(*one) for one in samples]
        yield metric
