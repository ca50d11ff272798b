"""Sends and receives messages with descriptors, over sockets between processes of one machine.

With few imports, because the supervisor forks.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from typing import Any, NamedTuple

HEADER = struct.Struct("!Q")
"""The number of bytes of a message; the descriptors are sent together with it."""

Message = dict[str, Any]


class Received(NamedTuple):
    """A message with its text, which may be sent on."""

    message: Message
    text: bytes
    descriptors: list[int]


def send_text(connection: socket.socket, text: bytes, descriptors: list[int]) -> None:
    """Send the text of a message over a socket that blocks. Raises `OSError`."""
    socket.send_fds(connection, [HEADER.pack(len(text))], descriptors)
    connection.sendall(text)


def receive_message(connection: socket.socket, most: int) -> Received:
    """Return a message, which may be empty, with at most so many descriptors.

    Raises `EOFError` when the other side has closed its end.
    """
    header, descriptors = receive(connection, HEADER.size, most)
    if not header:
        raise EOFError
    (size,) = HEADER.unpack(header)
    text = b""
    while len(text) < size:
        piece = connection.recv(size - len(text))
        if not piece:
            raise EOFError
        text += piece
    return Received(json.loads(text or b"{}"), text, descriptors)


def receive(connection: socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """Receive bytes, none at the end, and descriptors that no command inherits."""
    data, descriptors = b"", list[int]()
    with contextlib.suppress(ConnectionError):
        data, descriptors, _, _ = socket.recv_fds(connection, size, most)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # noqa: FBT003
    return data, descriptors
