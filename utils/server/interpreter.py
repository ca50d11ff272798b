"""Tunes the interpreter of a server: garbage collection, threads and large texts."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys

SWITCH_SECONDS = 0.001
"""Time after which a thread that computes lets another one go on, in place of Python's 0.005.

The client of the cloud hands each answer over in a thread of its own, so that many of them wait at
the same time when many sandboxes answer (docs/decisions/cost-of-tasks.md).
"""

FULL_COLLECTION_EVERY = 100
"""Collections of the middle generation for a full one, in place of Python's 10.

A full collection stops all threads and the event loop: with 500 sandboxes for 0.2 to 0.5 s.
"""

LARGE_BYTES = 128 * 1024
_M_MMAP_THRESHOLD = -3
"""Parameter of mallopt(3): blocks from this size on are mapped by themselves. Set, it stays so."""


def tune_interpreter() -> None:
    """Prepare the interpreter for a long life. Call it when all parts of the server are built."""
    # The present objects stay alive. Without this each full garbage collection would traverse
    # them too.
    gc.freeze()
    young, middle, _full = gc.get_threshold()
    gc.set_threshold(young, middle, FULL_COLLECTION_EVERY)
    sys.setswitchinterval(SWITCH_SECONDS)
    _give_back_large_texts()


def _give_back_large_texts() -> None:
    """Have the C library give the memory of large texts back when they are freed, where it can.

    Otherwise it keeps as much as the largest patches took, once for each of its arenas.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
