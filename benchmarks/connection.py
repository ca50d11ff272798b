"""A kept-alive HTTP connection that costs next to nothing, so that it measures the server."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass
from typing import Any

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_CHUNK = 262_144


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes

    def json(self) -> Any:
        """Return the body, which must be JSON and come with 2xx."""
        if not 200 <= self.status < 300:
            raise RuntimeError(f"the server answered {self.status}: {self.body[:300]!r}")
        return json.loads(self.body)


def encode_request(
    method: str, path: str, *, body: object = None, token: str | None = None
) -> bytes:
    """Return a request as it goes over the wire."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(content)}"]
    if content:
        lines.append("Content-Type: application/json")
    if token:
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join([*lines, "", ""]).encode() + content


def decode_answer(received: bytes | bytearray) -> Answer | None:
    """Return the answer once all of it has come, None before. Answers always name their length."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    found = _LENGTH.search(received, 0, end + 2)
    length = int(found[1]) if found else 0
    if len(received) < end + 4 + length:
        return None
    return Answer(int(received[9:12]), bytes(received[end + 4 : end + 4 + length]))


def connect(address: tuple[str, int]) -> socket.socket:
    """Open a connection that sends without delay."""
    opened = socket.create_connection(address, timeout=60)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


class Connection:
    """One connection, one request after the other."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = connect(address)

    def send(self, request: bytes) -> Answer:
        """Send a request and wait for its answer."""
        self._socket.sendall(request)
        received = bytearray()
        while (answer := decode_answer(received)) is None:
            chunk = self._socket.recv(_CHUNK)
            if not chunk:
                raise ConnectionError("the server closed the connection")
            received += chunk
        return answer

    def close(self) -> None:
        """Close it."""
        self._socket.close()
