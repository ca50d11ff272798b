"""Defines the results and the parameters of a benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

Choice = TypeVar("Choice")


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
    """The parameters of a benchmark: its working folder, and `quick` for small sizes."""

    folder: Path
    quick: bool

    def size(self, full: Choice, quick: Choice) -> Choice:
        """Return the quick value in a quick run, the full value otherwise."""
        return quick if self.quick else full


Benchmark = Callable[[Bench], list[Figure]]
