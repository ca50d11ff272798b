"""The findings of `./run.sh doctor`: one line each, followed by the remedy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check. A `problem` keeps tasks from working, a `warning` may."""

    level: Level
    what: str
    advice: str = ""

    @property
    def text(self) -> str:
        """The lines to print."""
        first, *others = [*self.what.splitlines(), *self.advice.splitlines()]
        indent = "\n" + " " * 9
        return indent.join([f"{self.level:<8} {first}", *others])


def ok(what: str, advice: str = "") -> Finding:
    """Return a check that went well."""
    return Finding("ok", what, advice)


def warning(what: str, advice: str = "") -> Finding:
    """Return something that may keep tasks from working."""
    return Finding("warning", what, advice)


def problem(what: str, advice: str = "") -> Finding:
    """Return something that keeps tasks from working."""
    return Finding("problem", what, advice)
