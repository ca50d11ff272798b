"""What a benchmark reports, and what it is given to work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

Choice = TypeVar("Choice")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. Without a target it only explains the others."""

    name: str
    value: float
    unit: str
    target: float | None = None
    better: Literal["lower", "higher"] = "lower"

    @property
    def holds(self) -> bool | None:
        """Whether the target is met, None without one."""
        if self.target is None:
            return None
        return self.value <= self.target if self.better == "lower" else self.value >= self.target


@dataclass(frozen=True, slots=True)
class Bench:
    """A folder to work in, and whether a glance is enough."""

    folder: Path
    quick: bool

    def size(self, full: Choice, quick: Choice) -> Choice:
        """Return the one or the other."""
        return quick if self.quick else full


Benchmark = Callable[[Bench], list[Figure]]
