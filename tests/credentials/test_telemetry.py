"""Log lines have one format and contain no secrets."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog
from anyio import to_thread

from utils.config.settings import Settings
from utils.errors import AppError
from utils.redaction import Redactor
from utils.telemetry import Metrics, configure_logging

SECRET = "ghp_hidden0123"


@pytest.fixture
def lines(quiet: None, capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    settings = Settings.model_validate({"log_format": "json", "log_level": "INFO"})
    configure_logging(settings, lambda text: text.replace(SECRET, "[redacted]"))
    structlog.contextvars.clear_contextvars()
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    configure_logging(Settings.model_validate({}), lambda text: text)


def test_secrets_are_redacted_wherever_they_are(lines: Any) -> None:
    structlog.get_logger().info(
        f"using {SECRET}", action="test", deep={"list": [SECRET, 1]}, path=Path(SECRET), count=3
    )
    [line] = lines()
    assert line["event"] == "using [redacted]"
    assert (line["deep"], line["path"]) == ({"list": ["[redacted]", 1]}, "[redacted]")
    assert (line["action"], line["count"], line["level"]) == ("test", 3, "info")


def test_secrets_in_tracebacks_are_redacted(lines: Any) -> None:
    def fail() -> None:
        raise RuntimeError(SECRET)

    try:
        fail()
    except RuntimeError as error:
        structlog.get_logger().error("failed", exc_info=error)
        logging.getLogger("library").exception("failed with %s", SECRET)
    ours, theirs = lines()
    for line in (ours, theirs):
        assert "RuntimeError: [redacted]" in line["exception"]
    assert theirs["event"] == "failed with [redacted]"


def test_the_secrets_of_a_tasks_user_are_redacted_in_its_own_lines(lines: Any) -> None:
    key, sdk = "sk-of-the-user-0123", logging.getLogger("e2b.api")
    redactor = Redactor()

    async def run(secret: str, held: anyio.Event, other: anyio.Event) -> None:
        with redactor.child().hold(secret):
            held.set()
            await other.wait()
            structlog.get_logger().info(f"ours {key}")
            await to_thread.run_sync(sdk.warning, "Response 400 {'x-api-key': '%s'}", key)
            async with anyio.create_task_group() as group:
                group.start_soon(to_thread.run_sync, sdk.error, f"header {key} {SECRET}")

    async def both() -> None:
        first, second = anyio.Event(), anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(run, key, first, second)
            group.start_soon(run, "sk-of-another-user", second, first)

    anyio.run(both)
    said = sorted(line["event"] for line in lines())
    hidden = ["header {} [redacted]", "ours {}", "Response 400 {{'x-api-key': '{}'}}"]
    assert said == sorted(text.format(who) for text in hidden for who in (key, "[redacted]"))
    sdk.warning("after it %s", key)
    assert [line["event"] for line in lines()] == [f"after it {key}"]


def test_ids_are_bound_to_the_lines_of_a_request(lines: Any) -> None:
    structlog.contextvars.bind_contextvars(request_id="r1", task_id=5)
    structlog.get_logger().info("ours")
    logging.getLogger("library").warning("theirs")
    assert [(line["request_id"], line["task_id"]) for line in lines()] == [("r1", 5)] * 2


def test_lines_below_the_level_are_not_written(lines: Any) -> None:
    structlog.get_logger().debug("quiet")
    logging.getLogger("library").debug("quiet")
    logging.getLogger("urllib3").info("quiet")
    assert lines() == []


def test_a_library_that_makes_a_mistake_in_its_line_does_not_stop_us(lines: Any) -> None:
    structlog.get_logger().info("value", object=object())
    [line] = lines()
    assert line["object"].startswith("<object object")


def test_metrics_read_the_queue_when_they_are_asked() -> None:
    metrics = Metrics()
    waiting = [1, 2, 3]
    metrics.set_sources(
        queued=lambda: len(waiting),
        running=lambda: 0,
        oldest_waiting_seconds=lambda: 4.5,
        sandboxes_available=lambda: True,
        workers=lambda: 2,
    )
    metrics.task_ended("completed", "claude")
    metrics.task_ended("failed", "claude", "agent_failed")
    metrics.agent_used("claude", {"input_tokens": 10}, 0.25)
    metrics.agent_used("claude", {"input_tokens": 5, "output_tokens": 2}, None)
    metrics.webhook_delivered("ping")
    AppError("An error.", "a_code_of_this_test")
    metrics.stage_finished("agent", 1.5)
    waiting.pop()
    text = metrics.render({("running", "codex"): 3}).decode()
    assert "async_code_tasks_queued 2.0" in text
    assert 'async_code_tasks_ended_total{agent="claude",status="completed"} 1.0' in text
    assert 'async_code_tasks_failed_total{error_code="agent_failed"} 1.0' in text
    assert 'async_code_agent_tokens_total{agent="claude",kind="input_tokens"} 15.0' in text
    assert 'async_code_agent_tokens_total{agent="claude",kind="output_tokens"} 2.0' in text
    assert 'async_code_agent_cost_usd_total{agent="claude"} 0.25' in text
    assert 'async_code_webhook_deliveries_total{event="ping"} 1.0' in text
    assert 'async_code_errors_total{code="a_code_of_this_test"} 1.0' in text
    assert "async_code_oldest_waiting_seconds 4.5" in text
    assert "async_code_sandboxes_available 1.0" in text
    assert "async_code_workers 2.0" in text
    assert 'async_code_stage_seconds_sum{stage="agent"} 1.5' in text
