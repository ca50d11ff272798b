"""The costs of a run, by what its agent tells and by the prices of the settings."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.agents.programs import read_lines
from tests.support.database.samples import LATER, USER
from tests.support.source_files import ROOT
from utils.agents.claude import ClaudeReader
from utils.config.settings import Settings
from utils.errors import TaskStopped
from utils.models.tasks import Json, Task, TaskStatus
from utils.usage.budgets import BudgetLimit, RunBudget, next_month
from utils.usage.meter import MeteredRun, RunMeter
from utils.usage.prices import Prices, cost_of_time, price_warnings

INIT = {"type": "system", "subtype": "init", "model": "claude-sonnet-4-5"}
TASK = Task(1, USER, None, TaskStatus.RUNNING, "claude", "file:///r", "", [], LATER, LATER)


def prices(**settings: Any) -> Prices:
    return Prices(Settings.model_validate(settings))


def meter(stops: list[str], run_budget: RunBudget) -> RunMeter:
    run = MeteredRun(TASK, 1, "sonnet", "local", None)
    made = RunMeter(run, prices(), run_budget, lambda reason, _: stops.append(reason.message))
    made.observe("sandbox", {"state": "created", "id": "box"})
    return made


def call(number: int) -> Json:
    usage = {"input_tokens": 100_000, "output_tokens": 20_000}
    return {"type": "assistant", "message": {"id": f"msg_{number}", "usage": usage}}


def test_an_agent_that_tells_its_price_at_the_end_is_priced_before_it() -> None:
    stops: list[str] = []
    limit = BudgetLimit("task", 1_500_000, 200_000, None)
    metered, reader = meter(stops, RunBudget((limit,))), ClaudeReader()

    def note() -> int:
        ended = reader.finished
        metered.note_agent(reader.details, reader.unreported, has_ended=ended)
        record = metered.record()
        assert record is not None
        return record.usage.model_micro_usd

    read_lines(reader, INIT, call(1))
    assert note() == 600_000
    read_lines(reader, call(2))
    assert (note(), stops) == (1_200_000, [])
    read_lines(reader, call(3))
    assert note() == 1_800_000
    assert len(stops) == 1
    read_lines(reader, call(4))
    note()
    assert len(stops) == 1
    end = {"type": "result", "subtype": "success", "result": "Done.", "total_cost_usd": 1.75}
    read_lines(reader, {**end, "usage": {"input_tokens": 1, "output_tokens": 1}})
    assert note() == 1_750_000


def test_tokens_without_a_price_are_told() -> None:
    metered = RunMeter(
        MeteredRun(TASK, 1, "gpt-6.1-sol", "local", None), prices(), RunBudget(), _fail
    )
    metered.observe("sandbox", {"state": "created", "id": "box"})
    usage = {"input_tokens": 70, "cached_input_tokens": 50, "output_tokens": 30}
    metered.note_agent({"usage": usage}, {}, has_ended=False)
    record = metered.record()
    assert record is not None
    assert (record.usage.unpriced_tokens, record.usage.cost_micro_usd) == (100, 0)


def _fail(reason: TaskStopped, scope: str) -> None:
    raise AssertionError((reason, scope))


def test_the_longest_name_of_a_model_counts_and_templates_before_kinds() -> None:
    table = prices(
        model_prices="*=9/9/9, gpt-*=1/1/1,gpt-6*=2/0.5/8",
        sandbox_prices="e2b=0.36 large=3.6",
    )
    found = table.model(None, "GPT-6.1-sol")
    assert found == (2_000_000, 500_000, 8_000_000)
    assert table.model("other") == (9_000_000,) * 3
    assert table.sandbox_hour("e2b", "large") == 3_600_000
    assert cost_of_time(10_000, table.sandbox_hour("e2b", None)) == 1_000
    assert table.sandbox_hour("local", None) == 0


def test_the_price_of_a_cloud_sandbox_is_that_of_the_size_of_the_template() -> None:
    size = tomllib.loads((ROOT / "e2b.toml").read_text())
    # E2B's prices of a processor and of a GiB of memory for an hour, in micro-dollars.
    hour = size["cpu_count"] * 50_400 + size["memory_mb"] // 1_024 * 16_200
    assert prices().sandbox_hour("e2b", None) == hour


def test_models_that_no_budget_limits_are_named_at_the_start() -> None:
    chosen = {"claude_models": "opus", "codex_models": "gpt-6.1-sol"}
    assert price_warnings(Settings.model_validate(chosen)) == []
    limited = Settings.model_validate({**chosen, "budget_usd_per_user_day": 1})
    [warning] = price_warnings(limited)
    assert "gpt-6.1-sol" in warning


@pytest.mark.parametrize(
    "setting",
    [
        {"model_prices": "sonnet=3/15"},
        {"model_prices": "sonnet=3/x/15"},
        {"model_prices": "=1/1/1"},
        {"sandbox_prices": "e2b=-1"},
        {"sandbox_prices": "e2b=nan"},
        {"sandbox_prices": "e2b"},
        {"budget_usd_per_task": 0},
        {"budget_usd_per_user_day": float("nan")},
        {"admin_user_ids": "somebody"},
    ],
)
def test_settings_that_say_nothing_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(setting)


def test_a_month_ends_with_its_last_day() -> None:
    for month, following in ((1, 2), (2, 3), (11, 12), (12, 1)):
        begins = next_month(LATER.replace(month=month, day=28, hour=23))
        assert (begins.month, begins.day, begins.hour) == (following, 1, 0)
