"""Counts what one run of a task uses, and notices when a budget is spent."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass, replace
from datetime import UTC, datetime, timedelta

from utils.errors import CloneError, TaskError, TaskStopped
from utils.models.runs import AgentRun
from utils.models.tasks import Json, Task
from utils.models.usage import LARGEST_AMOUNT, MICRO, NO_USAGE, Usage, UsageRecord
from utils.usage.budgets import BUDGET_EXCEEDED, RunBudget, stopped_text
from utils.usage.prices import Prices, cost_of_time, cost_of_tokens

SAVE_SECONDS = 15.0
"""Least time between two records of a run that goes on, so that they do not cost much."""

_USED = "used"

_TOKENS = ("input_tokens", "cached_input_tokens", "output_tokens")

OnSpent = Callable[[TaskStopped], None]
OnLimit = Callable[[TaskStopped, str], None]


@dataclass(frozen=True, slots=True)
class MeteredRun:
    """The facts of a run before it begins. `run` is that of an earlier process to resume."""

    task: Task
    turn: int
    agent_model: str | None
    sandbox_kind: str
    template: str | None
    run: AgentRun | None = None

    def name_in(self, sandbox_id: str) -> str:
        """Return the name of the run in a sandbox, among the runs of its task."""
        return f"turn {self.turn} in {sandbox_id}" if sandbox_id else ""


class RunMeter:
    """Counts on the event loop; `record` may be called from any thread.

    `on_limit` is called once, when the costs of the run have passed a budget, with its scope.
    """

    def __init__(
        self, metered: MeteredRun, prices: Prices, run_budget: RunBudget, on_limit: OnLimit
    ) -> None:
        self.run_budget = run_budget
        self._metered = metered
        self._prices = prices
        self._on_limit = on_limit
        self._hour_micro_usd = prices.sandbox_hour(metered.sandbox_kind, metered.template)
        self._is_spent = False
        self._sandbox_id = ""
        # What an earlier process has read of the agent's output is read again, and may be cut off.
        self._least = _known_to(metered.run)
        self._usage = self._least
        self._saved = _of_agent(NO_USAGE)
        self._saved_at = -math.inf
        age_seconds, self._clones = _earlier(metered.run)
        self._began = time.monotonic() - age_seconds
        self._at = datetime.now(UTC) - timedelta(seconds=age_seconds)

    @property
    def run_name(self) -> str:
        """The name of the run; empty before its sandbox is open."""
        return self._metered.name_in(self._sandbox_id)

    @property
    def position(self) -> Json:
        """The part of the run's position that tells a next process what the agent has used."""
        return {} if self._usage == NO_USAGE else {_USED: asdict(self._usage)}

    def observe(self, kind: str, data: Json) -> None:
        """Count an event of the run."""
        if kind == "sandbox" and data.get("state") in {"created", "resumed"}:
            self._sandbox_id = str(data["id"])
            if self._metered.run is None:
                self._began, self._at = time.monotonic(), datetime.now(UTC)
        elif kind == "git" and data.get("operation") == "clone":
            self._clones += 1

    def note_agent(self, details: Json, unreported: Json, *, has_ended: bool) -> None:
        """Count what the agent has used up to now.

        `details` is what its program has told, `unreported` the tokens that are not part of it
        yet. Once the agent has ended by itself its work is kept, whatever it has cost.
        """
        self._usage = _most(self._least, self._agent_usage(details, unreported))
        if has_ended or self._is_spent:
            return
        cost = self._usage.model_micro_usd + self._sandbox_cost()
        if limit := self.run_budget.passed_by(cost):
            self._is_spent = True
            self._on_limit(TaskStopped(stopped_text(limit), BUDGET_EXCEEDED), limit.scope)

    def record(self, failure: TaskError | None = None) -> UsageRecord | None:
        """Return what the run has used; None when it had no sandbox."""
        if not self.run_name:
            return None
        failed = int(isinstance(failure, CloneError))
        usage = replace(
            self._usage,
            sandbox_milliseconds=self._milliseconds(),
            sandbox_micro_usd=self._sandbox_cost(),
            git_operations=self._clones + failed,
            failed_git_operations=failed,
        )
        task = self._metered.task
        return UsageRecord(
            task.user_id, task.id, self.run_name, task.project_id, task.agent, self._at, usage
        )

    def unsaved(self) -> UsageRecord | None:
        """Return what to store of a run that goes on: at times, and only if the agent has cost."""
        is_due = time.monotonic() - self._saved_at >= SAVE_SECONDS
        if _of_agent(self._usage) == self._saved or not is_due:
            return None
        return self.record()

    def note_saved(self, record: UsageRecord) -> None:
        """Note that a record of the run was stored."""
        self._saved_at = time.monotonic()
        self._saved = _of_agent(record.usage)

    def _agent_usage(self, details: Json, unreported: Json) -> Usage:
        summed, metered = details.get("usage", {}), self._metered
        tokens = {name: summed.get(name, 0) + unreported.get(name, 0) for name in _TOKENS}
        price = self._prices.model(details.get("model"), metered.agent_model)
        cost = details.get("cost_usd")
        unpriced = unreported if cost is not None else tokens
        estimate = cost_of_tokens(unpriced, price) if price else 0
        count = unpriced.get("input_tokens", 0) + unpriced.get("output_tokens", 0)
        reported = min(round((cost or 0) * MICRO), LARGEST_AMOUNT)
        return Usage(
            model_micro_usd=reported + estimate,
            unpriced_tokens=0 if price else count,
            **tokens,
        )

    def _milliseconds(self) -> int:
        return max(round((time.monotonic() - self._began) * 1_000), 0)

    def _sandbox_cost(self) -> int:
        return cost_of_time(self._milliseconds(), self._hour_micro_usd)


def _known_to(run: AgentRun | None) -> Usage:
    """Return what the agent of an earlier process had used when its position was stored."""
    used = run.position.get(_USED) if run else None
    return Usage(**used) if used else NO_USAGE


def _of_agent(usage: Usage) -> tuple[int, ...]:
    return usage.model_micro_usd, usage.input_tokens, usage.output_tokens


def _most(one: Usage, other: Usage) -> Usage:
    return Usage(*map(max, astuple(one), astuple(other)))


def _earlier(run: AgentRun | None) -> tuple[float, int]:
    """Return the age and the number of clones of a run that an earlier process has begun."""
    if run is None:
        return 0.0, 0
    age = (datetime.now(UTC) - run.agent_started_at).total_seconds()
    is_kept = bool(run.position.get("start", (None, None, False))[2])
    return max(age, 0.0) + sum(run.stage_seconds.values()), 0 if is_kept else 1
