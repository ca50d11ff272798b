"""Encodes Connect's wire format in JSON, as far as envd uses it (docs/e2b.md section 4).

A unary call is JSON, an error an HTTP status with `{"code", "message"}`. A stream is envelopes
`flags(1) length(4, big endian) JSON`, the last one with flag 2, and always HTTP status 200.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from tests.fakes.e2b.http import Reply, Request

STREAM_TYPE = "application/connect+json"
LAST = 2

# Connect's own table; what is missing here is 500.
STATUS = {
    "invalid_argument": 400,
    "failed_precondition": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "not_found": 404,
    "already_exists": 409,
    "unimplemented": 501,
    "unavailable": 503,
}


class RpcError(Exception):
    """An error with a code of Connect."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def reply(self) -> Reply:
        """Return the error as the answer to a unary call."""
        body = {"code": self.code, "message": str(self)}
        return Reply.of(STATUS.get(self.code, 500), body)


def envelope(content: bytes, flags: int = 0) -> bytes:
    """Return one message of a stream in its envelope."""
    return bytes([flags]) + len(content).to_bytes(4, "big") + content


def last(code: str = "", message: str = "") -> bytes:
    """Return the last envelope of a stream, with an error or without."""
    error = {"error": {"code": code, "message": message}} if code else {}
    return envelope(json.dumps(error).encode(), LAST)


async def envelopes(request: Request) -> AsyncIterator[dict[str, Any]]:
    """Yield the messages of a client stream as they arrive."""
    buffer = b""
    async for piece in request.body.pieces():
        buffer += piece
        while len(buffer) >= 5 and len(buffer) >= (end := 5 + int.from_bytes(buffer[1:5], "big")):
            yield json.loads(buffer[5:end])
            buffer = buffer[end:]


async def replay(ended: tuple[int, bytes]) -> AsyncGenerator[bytes]:
    """Yield the start and the end of a command that has ended, without its output."""
    pid, event = ended
    yield envelope(json.dumps({"event": {"start": {"pid": pid}}}).encode())
    yield envelope(event)
    yield last()


async def failed(error: RpcError) -> AsyncGenerator[bytes]:
    """Yield the error of a stream that could not start."""
    yield last(error.code, str(error))


async def cut(whole: AsyncIterator[bytes], piece_bytes: int) -> AsyncGenerator[bytes]:
    """Split the output in data events, like a command that writes small pieces."""
    async for item in whole:
        data = json.loads(item[5:]).get("event", {}).get("data")
        if not data:
            yield item
            continue
        ((name, value),) = data.items()
        content = base64.b64decode(value)
        for start in range(0, len(content), piece_bytes):
            piece = base64.b64encode(content[start : start + piece_bytes]).decode()
            yield envelope(json.dumps({"event": {"data": {name: piece}}}).encode())
