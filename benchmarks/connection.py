"""Provides a minimal keep-alive HTTP connection, which costs little and so measures the server."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_ETAG = re.compile(rb"\r\netag: ([^\r]*)\r\n", re.IGNORECASE)
_CLOSE = b"\r\nConnection: close\r\n"
_CHUNK = 262_144


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP response."""

    status: int
    body: bytes
    is_last: bool
    """True when the server closes the connection after it."""

    etag: str
    """The ETag, empty without one."""

    def json(self) -> Any:
        """Return the parsed JSON body. Raises `RuntimeError` for any status but 2xx."""
        if not 200 <= self.status < 300:
            raise RuntimeError(f"the server answered {self.status}: {self.body[:300]!r}")
        return json.loads(self.body)


def encode_request(
    method: str,
    path: str,
    *,
    body: object = None,
    token: str | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """Return the bytes of a request."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(content)}"]
    if content:
        lines.append("Content-Type: application/json")
    if token:
        lines.append(f"Authorization: Bearer {token}")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


def decode_answer(received: bytes | bytearray) -> Answer | None:
    """Return the response, or None while it is incomplete. Responses have a Content-Length."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    found = _LENGTH.search(received, 0, end + 2)
    length = int(found[1]) if found else 0
    if len(received) < end + 4 + length:
        return None
    body = bytes(received[end + 4 : end + 4 + length])
    is_last = received.find(_CLOSE, 0, end + 2) > 0
    etag = _ETAG.search(received, 0, end + 2)
    return Answer(int(received[9:12]), body, is_last, etag[1].decode() if etag else "")


def connect(address: tuple[str, int]) -> socket.socket:
    """Open a connection with TCP_NODELAY."""
    opened = socket.create_connection(address, timeout=60)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


class Connection:
    """Sends requests one after the other over one connection."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = connect(address)

    def send(self, request: bytes) -> Answer:
        """Send a request and return its response."""
        self._socket.sendall(request)
        received = bytearray()
        while (answer := decode_answer(received)) is None:
            chunk = self._socket.recv(_CHUNK)
            if not chunk:
                raise ConnectionError("the server closed the connection")
            received += chunk
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
