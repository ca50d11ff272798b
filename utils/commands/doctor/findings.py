"""Defines the findings of `./run.sh doctor`: one line each, with the advice below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. A `problem` keeps tasks from working, a `warning` may."""

    level: Level
    summary: str
    advice: str = ""

    @property
    def text(self) -> str:
        """The printed lines."""
        first, *others = [*self.summary.splitlines(), *self.advice.splitlines()]
        indent = "\n" + " " * 9
        return indent.join([f"{self.level:<8} {first}", *others])


def ok(summary: str, advice: str = "") -> Finding:
    """Return the finding of a check that passed."""
    return Finding("ok", summary, advice)


def warning(summary: str, advice: str = "") -> Finding:
    """Return a finding that may keep tasks from working."""
    return Finding("warning", summary, advice)


def problem(summary: str, advice: str = "") -> Finding:
    """Return a finding that keeps tasks from working."""
    return Finding("problem", summary, advice)
