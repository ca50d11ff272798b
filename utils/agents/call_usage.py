"""Counts the tokens of an agent's calls of its model, until its program tells their sum."""

from __future__ import annotations

from collections import OrderedDict

from utils.models.tasks import Json

_OPEN_CALLS = 64
"""Calls of which more lines may come; those of subagents are mixed."""


class CallUsage:
    """Adds up the tokens of calls. Each line of a call repeats its tokens; the last one counts."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, Json] = OrderedDict()
        self._closed: Json = {}

    def note(self, call: str, usage: Json) -> None:
        """Note the tokens of a call as its newest line tells them."""
        self._open[call] = usage
        if len(self._open) > _OPEN_CALLS:
            _, oldest = self._open.popitem(last=False)
            self._closed = _added(self._closed, oldest)

    def clear(self) -> None:
        """Forget the calls, because the program has told the sum of their tokens."""
        self._open.clear()
        self._closed = {}

    @property
    def total(self) -> Json:
        """The tokens of all calls."""
        total = self._closed
        for usage in self._open.values():
            total = _added(total, usage)
        return total


def _added(one: Json, other: Json) -> Json:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}
