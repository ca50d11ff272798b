"""Shares the processors of this machine out to sandboxes that may use a few of them."""

from __future__ import annotations

import os
from collections.abc import Sequence


def usable_processors() -> list[int]:
    """Return the processors that this program may use; none where the system does not tell."""
    # macOS has no affinity.
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


class Processors:
    """The processors that this server may use, given out in turn. For use on one event loop."""

    def __init__(self) -> None:
        self._next = 0

    def take(self, count: int) -> Sequence[int]:
        """Return so many processors, or all when there are not more; those after the last first.

        Returns none where the system cannot keep a program on some.
        """
        usable = usable_processors()
        if not usable:
            return ()
        places = range(self._next, self._next + min(count, len(usable)))
        self._next = places.stop % len(usable)
        return [usable[place % len(usable)] for place in places]
