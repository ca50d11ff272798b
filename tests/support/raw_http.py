"""Speaks HTTP over a bare socket, for requests that no client library would send."""

from __future__ import annotations

import http.client
import io
import socket
from typing import NamedTuple

from tests.support.live_server import LiveServer

Raw = socket.socket
WAIT_SECONDS = 180.0


class RawResponse(NamedTuple):
    """A response; the names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def connect(server: LiveServer | int, receive_bytes: int | None = None) -> Raw:
    """Open a connection to a server or port, with a small buffer for what it sends if given."""
    connection = socket.socket()
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(WAIT_SECONDS)
    port = server if isinstance(server, int) else server.port
    connection.connect(("127.0.0.1", port))
    return connection


def read_response(connection: Raw) -> RawResponse:
    """Read one response and nothing beyond it; skip `100 Continue`."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, f"the server closed the connection after {head!r}"
        head += byte
    first, _, rest = head.partition(b"\r\n")
    status = int(first.split()[1])
    if status == 100:
        return read_response(connection)
    headers = http.client.parse_headers(io.BytesIO(rest))
    length = int(headers.get("Content-Length", "0"))
    body = b""
    while len(body) < length:
        piece = connection.recv(length - len(body))
        assert piece, "the server closed the connection"
        body += piece
    return RawResponse(status, {name.lower(): text for name, text in headers.items()}, body)


def ask(server: LiveServer, request: bytes) -> RawResponse:
    """Send bytes on a new connection and read the response."""
    with connect(server) as connection:
        connection.sendall(request)
        return read_response(connection)
