"""Settings of prices, budgets and administrators; a part of `utils.config.settings`."""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings

from utils.config.groups.cloud import NameList
from utils.models.usage import MICRO
from utils.models.users import canonical_user_id

_LARGEST_PRICE = 1_000_000

_BUDGET = "It includes sandboxes and models. By default there is no limit."


class ModelPrice(NamedTuple):
    """The price of a million tokens in micro-dollars. Cached input is a part of the input."""

    input: int
    cached_input: int
    output: int


def model_prices(entries: tuple[str, ...]) -> dict[str, ModelPrice]:
    """Return prices by the pattern of a model's name. Raises `ValueError`."""
    prices = dict(_entry(entry, 3) for entry in entries)
    return {pattern: ModelPrice(*numbers) for pattern, numbers in prices.items()}


def sandbox_prices(entries: tuple[str, ...]) -> dict[str, int]:
    """Return prices of an hour by the kind or template of sandboxes. Raises `ValueError`."""
    return {name: numbers[0] for name, numbers in (_entry(entry, 1) for entry in entries)}


def _entry(text: str, count: int) -> tuple[str, tuple[int, ...]]:
    name, _, numbers = text.rpartition("=")
    form = "name=price" if count == 1 else "name=input/cached input/output"
    try:
        prices = [float(number) for number in numbers.split("/")]
    except ValueError:
        prices = []
    if not name or len(prices) != count or not all(0 <= one <= _LARGEST_PRICE for one in prices):
        raise ValueError(f"must consist of entries such as {form}, with prices in US dollars")
    return name, tuple(round(price * MICRO) for price in prices)


def _check_models(entries: tuple[str, ...]) -> tuple[str, ...]:
    model_prices(entries)
    return entries


def _check_sandboxes(entries: tuple[str, ...]) -> tuple[str, ...]:
    sandbox_prices(entries)
    return entries


def _check_users(entries: tuple[str, ...]) -> tuple[str, ...]:
    users = [canonical_user_id(entry) for entry in entries]
    if None in users:
        raise ValueError("must consist of the ids of users, which are UUIDs")
    return tuple(user for user in users if user)


def _enough(amount: float | None) -> float | None:
    # Below a millionth of a dollar nothing could ever be started.
    if amount is not None and not (math.isfinite(amount) and amount * MICRO >= 1):
        raise ValueError("must be at least 0.000001")
    return amount


BudgetAmount = Annotated[float | None, AfterValidator(_enough)]


class UsageSettings(BaseSettings):
    """Settings of what usage costs, who may spend how much, and who sees the usage of all."""

    model_prices: Annotated[NameList, AfterValidator(_check_models)] = Field(
        ("*opus*=5/0.5/25", "*sonnet*=3/0.3/15", "*haiku*=1/0.1/5"),
        description="US dollars for a million tokens by model, as `name=input/cached input/output` "
        "separated by commas. `*` in a name stands for any text; the longest name that matches "
        "counts. They estimate what an agent does not report itself. Models without a price cost "
        "nothing here.",
    )
    sandbox_prices: Annotated[NameList, AfterValidator(_check_sandboxes)] = Field(
        ("e2b=0.1656",),
        description="US dollars for an hour of a sandbox, as `name=price` separated by commas. The "
        "name is the template of a project, or a kind: `local`, `isolated`, `e2b`. The default is "
        "E2B's price for the size in `e2b.toml`.",
    )
    budget_usd_per_task: BudgetAmount = Field(
        None,
        description="US dollars that one task may cost, with all of its turns and attempts. An "
        f"agent that reaches it is stopped, and its changes are kept. {_BUDGET}",
    )
    budget_usd_per_user_day: BudgetAmount = Field(
        None, description=f"US dollars that one user may spend in a day (UTC). {_BUDGET}"
    )
    budget_usd_per_user_month: BudgetAmount = Field(
        None, description=f"US dollars that one user may spend in a month (UTC). {_BUDGET}"
    )
    admin_user_ids: Annotated[NameList, AfterValidator(_check_users)] = Field(
        (),
        description="Ids of the users who see the tasks and the usage of all users under "
        "`/admin`, separated by commas. API keys need the scope admin there. With "
        "`ENVIRONMENT=production` and `TRUST_USER_ID=true` only API keys and accounts of Supabase "
        "count.",
    )
