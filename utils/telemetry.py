"""Configures the log and holds the metrics.

A log line is an event with an `action` key (`task.ended`, `http.request`); request and task ids
are bound by `structlog.contextvars`. Every value passes through the redactor on its way out.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from hmac import compare_digest
from threading import Lock
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector
from pydantic import SecretStr
from structlog.typing import EventDict, Processor

from utils.config.settings import Settings
from utils.config.version import VERSION
from utils.errors import error_counts
from utils.models.usage import MICRO, Usage
from utils.redaction import DENSE_TEXT, current_redactor

METRICS_CONTENT_TYPE = CONTENT_TYPE_LATEST

_STAGE_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_HTTP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)

_PLAIN_TYPES = frozenset({str, int, float, bool, type(None)})

Redact = Callable[[str], str]

_write_lock = Lock()


def configure_logging(settings: Settings, redact: Redact, process: str | None = None) -> None:
    """Send the log lines of the server and of its libraries through one chain to standard error.

    `process` is in each line, where a server has several processes.
    """
    level = logging.getLevelNamesMapping()[settings.log_level]
    chain: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redacting(redact),
    ]
    if process is not None:
        chain.insert(0, _naming(process))
    renderer = _renderer(settings)
    structlog.configure(
        processors=[*chain, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_StandardErrorLogger,
    )
    handler = _StandardErrorHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *chain],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    for old in [known for known in root.handlers if isinstance(known, _StandardErrorHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    _quieten_libraries(level)


def _naming(process: str) -> Processor:
    def processor(_logger: Any, _method: str, event: EventDict) -> EventDict:
        event.setdefault("process", process)
        return event

    return processor


def _renderer(settings: Settings) -> Processor:
    wants_json = settings.log_format == "json" or (
        settings.log_format == "auto" and settings.is_production
    )
    if wants_json:
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )


def _quieten_libraries(level: int) -> None:
    # PyGithub logs whole responses at DEBUG, and some of them contain tokens.
    for chatty in ("alembic", "github", "httpcore", "httpx", "urllib3", "hpack", "stamina"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))


def _redacting(redact: Redact) -> Processor:
    def clean(value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [clean(item) for item in value]
        text = str(value)
        task = current_redactor()
        return redact(task.redact(text) if task else text)

    def is_clean(event: EventDict) -> bool:
        # One search for all values is enough if it finds nothing. No secret reaches over a NUL that
        # it does not contain, and the redactor does not cut such short texts.
        if not all(type(value) in _PLAIN_TYPES for value in event.values()):
            return False
        texts = "\0".join(value for value in event.values() if isinstance(value, str))
        return len(texts) < DENSE_TEXT and clean(texts) == texts

    def processor(_logger: Any, _method: str, event: EventDict) -> EventDict:
        if is_clean(event):
            return event
        # Underscored keys are structlog's own (the log record), taken out before rendering.
        return {key: value if key.startswith("_") else clean(value) for key, value in event.items()}

    return processor


class _StandardErrorLogger:
    """Writes the lines of the server without `logging`, which would double the cost."""

    def __init__(self, *_names: str) -> None:
        pass

    def msg(self, line: str) -> None:
        # Standard error as it is now, not as it was at start-up.
        with _write_lock:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = msg


class _StandardErrorHandler(logging.Handler):
    """Writes the lines of the libraries to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        _StandardErrorLogger().msg(self.format(record))


class _ErrorCollector(Collector):
    """Reads the errors of this process, by code, when the metrics are asked for."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the one metric."""
        family = CounterMetricFamily(
            "async_code_errors", "Errors by code, repeated requests included.", labels=("code",)
        )
        for code, count in sorted(error_counts().items()):
            family.add_metric((code,), count)
        yield family


def may_read_metrics(token: SecretStr, authorization: str) -> bool:
    """Tell whether an `Authorization` header holds the token of the metrics."""
    expected = f"Bearer {token.get_secret_value()}"
    return compare_digest(authorization.encode(), expected.encode())


class Metrics:
    """Holds the metrics of `/metrics` in a registry of its own."""

    def __init__(self) -> None:
        self.registry = self._shown = CollectorRegistry()
        self._make_task_metrics()
        self._make_queue_metrics()
        self._make_request_metrics()
        Info("async_code_build", "The version of this server.", registry=self.registry).info(
            {"version": VERSION}
        )
        ProcessCollector(registry=self.registry)
        self.registry.register(_ErrorCollector())

    def _make_task_metrics(self) -> None:
        def count(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"async_code_{name}", text, labels, registry=self.registry)

        self._tasks_ended = count("tasks_ended", "Tasks that came to an end.", "status", "agent")
        self._tasks_failed = count("tasks_failed", "Tasks that ended with an error.", "error_code")
        self._tokens = count("agent_tokens", "Tokens that agents reported.", "agent", "kind")
        self._cost_usd = count("agent_cost_usd", "US dollars that agents reported.", "agent")
        self._sandbox_seconds = count("sandbox_seconds", "Time that tasks used sandboxes.", "agent")
        self._estimated_usd = count(
            "usage_cost_usd", "US dollars that tasks cost, as far as known.", "agent", "kind"
        )
        self._git_operations = count(
            "git_operations", "Clones, pushes and pull requests.", "result"
        )
        self._budgets_reached = count(
            "budgets_reached", "Tasks stopped or refused at a budget.", "budget", "result"
        )
        self._stage_seconds = Histogram(
            "async_code_stage_seconds",
            "Time that tasks spent in a stage.",
            ("stage",),
            buckets=_STAGE_BUCKETS,
            registry=self.registry,
        )

    def _make_queue_metrics(self) -> None:
        self._queued = Gauge("async_code_tasks_queued", "Tasks waiting.", registry=self.registry)
        self._running = Gauge("async_code_tasks_running", "Tasks running.", registry=self.registry)
        self._sandboxes_available = Gauge(
            "async_code_sandboxes_available",
            "1 while sandboxes can be opened, 0 while the circuit breaker is open.",
            registry=self.registry,
        )
        self._workers = Gauge(
            "async_code_workers",
            "Workers of the task engine that were seen lately.",
            registry=self.registry,
        )
        self._oldest_waiting = Gauge(
            "async_code_oldest_waiting_seconds",
            "Seconds that the longest waiting task has been queued.",
            registry=self.registry,
        )

    def _make_request_metrics(self) -> None:
        self._deliveries = Counter(
            "async_code_webhook_deliveries",
            "Deliveries of webhooks by event.",
            ("event",),
            registry=self.registry,
        )
        self._http_seconds = Histogram(
            "async_code_http_request_seconds",
            "Time to answer a request.",
            ("method", "route", "status"),
            buckets=_HTTP_BUCKETS,
            registry=self.registry,
        )
        self._http_seconds_by: dict[tuple[str, str, int], Histogram] = {}

    def task_ended(self, status: str, agent: str, error_code: str | None = None) -> None:
        """Count a task that reached its final status."""
        self._tasks_ended.labels(status, agent).inc()
        if error_code:
            self._tasks_failed.labels(error_code).inc()

    def agent_used(self, agent: str, tokens: Mapping[str, int], cost_usd: float | None) -> None:
        """Add the tokens, by kind, and the costs that an agent reported for one task."""
        for kind, number in tokens.items():
            self._tokens.labels(agent, kind).inc(number)
        if cost_usd:
            self._cost_usd.labels(agent).inc(cost_usd)

    def usage_recorded(self, agent: str, usage: Usage) -> None:
        """Add what one run, or one push of its result, has used."""
        self._sandbox_seconds.labels(agent).inc(usage.sandbox_milliseconds / 1_000)
        self._estimated_usd.labels(agent, "sandbox").inc(usage.sandbox_micro_usd / MICRO)
        self._estimated_usd.labels(agent, "model").inc(usage.model_micro_usd / MICRO)
        failed = usage.failed_git_operations
        self._git_operations.labels("succeeded").inc(usage.git_operations - failed)
        self._git_operations.labels("failed").inc(failed)

    def budget_reached(self, budget: str, result: str) -> None:
        """Count a task that was `stopped`, or `refused`, at a budget of a task, day, ..."""
        self._budgets_reached.labels(budget, result).inc()

    def webhook_delivered(self, event: str) -> None:
        """Count a delivery with a valid signature; `event` is one that is handled."""
        self._deliveries.labels(event).inc()

    def stage_finished(self, stage: str, seconds: float) -> None:
        """Record the seconds that a task spent in a stage."""
        self._stage_seconds.labels(stage).observe(seconds)

    def set_sources(
        self,
        *,
        queued: Callable[[], float],
        running: Callable[[], float],
        oldest_waiting_seconds: Callable[[], float],
        sandboxes_available: Callable[[], float],
        workers: Callable[[], float] = float,
    ) -> None:
        """Set the functions that return the state of the queue, the sandboxes and the workers."""
        self._queued.set_function(queued)
        self._running.set_function(running)
        self._oldest_waiting.set_function(oldest_waiting_seconds)
        self._sandboxes_available.set_function(sandboxes_available)
        self._workers.set_function(workers)

    def request_answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Record a request under the template of its route, never under its concrete path."""
        labels = method, route, status
        known = self._http_seconds_by.get(labels)
        if known is None:
            # The library checks the labels anew at each call.
            known = self._http_seconds_by[labels] = self._http_seconds.labels(*labels)
        known.observe(seconds)

    def show(self, collector: Collector) -> None:
        """Render what this collector yields, in place of the metrics of this process."""
        self._shown = CollectorRegistry()
        self._shown.register(collector)

    def render(self, stored_tasks: Mapping[tuple[str, str], int]) -> bytes:
        """Return all metrics in the text format of Prometheus.

        `stored_tasks` are the numbers of tasks in the database by (status, agent).
        """
        # A new registry each time: a permanent gauge would keep the counts of labels that no longer
        # exist.
        snapshot = CollectorRegistry()
        names = ("status", "agent")
        stored = Gauge("async_code_tasks", "Tasks in the database.", names, registry=snapshot)
        for labels, count in stored_tasks.items():
            stored.labels(*labels).set(count)
        return generate_latest(self._shown) + generate_latest(snapshot)
