"""Collects the output of commands in local sandboxes."""

from __future__ import annotations

import asyncio

from utils.sandboxes.output_pace import OutputPace
from utils.sandboxes.protocol import OutputHandler

CHUNK_BYTES = 32_768
CAPTURED_OUTPUT_BYTES = 1_000_000


class Output:
    """Collects the output of a command, or passes it to a handler."""

    def __init__(self, handler: OutputHandler | None) -> None:
        self.pace = OutputPace()
        self._handler = handler
        self._collected: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}

    async def follow(self, stream: str, reader: asyncio.StreamReader) -> None:
        """Read to the end. Output over the limit is read and dropped, so that no command blocks."""
        while chunk := await reader.read(CHUNK_BYTES):
            if self._handler:
                await self.pace.pass_on(self._handler, stream, chunk)
            elif len(self._collected[stream]) < CAPTURED_OUTPUT_BYTES:
                self._collected[stream] += chunk

    def text(self, stream: str) -> bytes:
        """Return the collected output."""
        return bytes(self._collected[stream])
