"""Accepts connections on a port that several processes share."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import structlog

PAUSE_SECONDS = 1.0
"""Pause after connections could not be accepted, because too many files are open."""

log = structlog.get_logger(__name__)


class SharedPort:
    """Accepts one connection at a time; a busy process leaves the next to another one."""

    def __init__(
        self, listener: socket.socket, new_connection: Callable[[], asyncio.Protocol]
    ) -> None:
        self._listener = listener
        self._new_connection = new_connection
        self._beginnings: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Begin to accept, on the running event loop."""
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Accept no more; the others go on."""
        if self._timer:
            self._timer.cancel()
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            accepted, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            # Another process was quicker, or the client is gone.
            return
        except OSError as error:
            log.warning("no connection accepted", action="server.no_accept", reason=error.strerror)
            loop.remove_reader(self._listener)
            self._timer = loop.call_later(PAUSE_SECONDS, self.open)
            return
        accepted.settimeout(0)
        beginning = loop.create_task(loop.connect_accepted_socket(self._new_connection, accepted))
        self._beginnings.add(beginning)
        beginning.add_done_callback(self._beginnings.discard)
