"""Receives the signals that ask a process to stop, before and after it has begun to work."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
# Other servers start and stop workers on them, so operators and tools may send them.
IGNORED_SIGNALS = (
    signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH,
)  # fmt: skip


class StopSignals:
    """Ends the process on a signal until there is somebody else to notify.

    `received` is the number of signals that have asked it to stop.
    """

    def __init__(self) -> None:
        self.received = 0
        self._notify: Callable[[], object] | None = None

    def receive(self) -> None:
        """Receive signals from now on."""
        for number in STOP_SIGNALS:
            # Only `nohup` ignores the end of a terminal, and means it.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._stop)
        for number in IGNORED_SIGNALS:
            # Programs that the process starts would inherit SIG_IGN.
            signal.signal(number, _ignore)

    def forward_to(self, notify: Callable[[], object]) -> None:
        """Call a function for each further signal that asks to stop."""
        self._notify = notify

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.received += 1
        if self._notify is None:
            raise SystemExit(0)
        self._notify()


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing."""
