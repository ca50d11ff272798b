"""Prices what agents and sandboxes have used, by the price tables of the settings."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from utils.agents.registry import PROGRAMS
from utils.config.groups.usage import ModelPrice, model_prices, sandbox_prices
from utils.config.settings import Settings
from utils.models.usage import MICRO

HOUR_MILLISECONDS = 3_600_000

_MODEL_CHARACTERS = 200


class Prices:
    """Knows what tokens and time cost."""

    def __init__(self, settings: Settings) -> None:
        # The longest pattern is the most exact one.
        found = sorted(model_prices(settings.model_prices).items(), key=lambda one: -len(one[0]))
        self._models = found
        self._sandboxes = sandbox_prices(settings.sandbox_prices)

    def model(self, *names: str | None) -> ModelPrice | None:
        """Return the price of the first name that has one. The names are not trusted."""
        for name in names:
            short = (name or "")[:_MODEL_CHARACTERS].lower()
            for pattern, price in self._models:
                if short and fnmatchcase(short, pattern.lower()):
                    return price
        return None

    def sandbox_hour(self, kind: str, template: str | None) -> int:
        """Return the price of an hour of a sandbox in micro-dollars."""
        own = self._sandboxes.get(template) if template else None
        return self._sandboxes.get(kind, 0) if own is None else own


def price_warnings(settings: Settings) -> list[str]:
    """Return a warning for each model that tasks may use and that no budget can limit."""
    has_budget = (
        settings.budget_usd_per_task
        or settings.budget_usd_per_user_day
        or settings.budget_usd_per_user_month
    )
    if not has_budget:
        return []
    prices = Prices(settings)
    models = [model for program in PROGRAMS for model in getattr(settings, program.models_setting)]
    return [
        f"MODEL_PRICES has no price for {model}, so its tokens count for no budget."
        for model in models
        if prices.model(model) is None
    ]


def cost_of_tokens(tokens: Mapping[str, int], price: ModelPrice) -> int:
    """Return the cost of tokens in micro-dollars, rounded up."""
    cached = tokens.get("cached_input_tokens", 0)
    cost = (
        max(tokens.get("input_tokens", 0) - cached, 0) * price.input
        + cached * price.cached_input
        + tokens.get("output_tokens", 0) * price.output
    )
    return -(-cost // MICRO)


def cost_of_time(milliseconds: int, hour_micro_usd: int) -> int:
    """Return the cost of a sandbox in micro-dollars, rounded up."""
    return -(-milliseconds * hour_micro_usd // HOUR_MILLISECONDS)
