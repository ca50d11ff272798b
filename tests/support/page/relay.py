"""Passes connections on to a server, and can keep streams back as a network that is gone does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK_BYTES = 65_536
_STREAM = b"text/event-stream"


class Relay:
    """Listens on a port of this machine; `port` is that of the server behind it."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[socket.socket] = []
        self._silenced: set[int] = set()
        self._streams: set[int] = set()

    def silence_streams(self) -> None:
        """Let nothing more through on the streams that are open now, and do not close them."""
        self._silenced |= self._streams

    def run(self) -> None:
        """Accept connections until the relay is closed."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._connections += [client, server]
                number = len(self._connections)
                for source, target in ((client, server), (server, client)):
                    pump = threading.Thread(target=self._pump, args=(number, source, target))
                    pump.daemon = True
                    pump.start()

    def close(self) -> None:
        """Close all connections."""
        for connection in (self._listener, *self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _pump(self, number: int, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                if _STREAM in data:
                    self._streams.add(number)
                if number not in self._silenced:
                    target.sendall(data)
            if number not in self._silenced:
                target.shutdown(socket.SHUT_WR)


@contextmanager
def relayed(port: int) -> Iterator[Relay]:
    """Run a relay to a server until the block ends."""
    relay = Relay(port)
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        yield relay
    finally:
        relay.close()
        thread.join()
