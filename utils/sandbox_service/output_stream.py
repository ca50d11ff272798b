"""Streams the output of one command to a client, as server-sent events.

The command runs on the event loop of the sandboxes; the web server reads the stream on its own.
"""

from __future__ import annotations

import asyncio
import threading
from codecs import getincrementaldecoder
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from utils.errors import AppError
from utils.models.sandboxes import StoredSandbox
from utils.redaction import Redactor
from utils.sandbox_service.commands import MAX_OUTPUT_BYTES, Executed, UserCommand
from utils.streams.reading import Pulse, StreamContext
from utils.streams.server_sent import COMMENT, PREAMBLE, Chunks, event_block

if TYPE_CHECKING:
    from utils.sandbox_service.work import Work

LONGEST_PIECE_CHARACTERS = 4_000
"""Length of a line after which a part of it is sent; secrets are found within a piece."""

INTERNAL_ERROR = "The command failed because of an internal error of the server."


class OutputStream:
    """The output of a command: events `stdout` and `stderr`, at last `exit` or `error`."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._blocks: deque[bytes] = deque()
        self._lines = {"stdout": "", "stderr": ""}
        self._decoders = {name: getincrementaldecoder("utf-8")("replace") for name in self._lines}
        self._left = {"stdout": MAX_OUTPUT_BYTES, "stderr": MAX_OUTPUT_BYTES}
        self._lock = threading.Lock()
        self._wake: Callable[[], object] | None = None
        self._is_over = False
        self._has_begun = threading.Event()
        self._refusal: AppError | None = None

    async def run(self, work: Work, stored: StoredSandbox, command: UserCommand) -> None:
        """Run the command to its end, whether or not a client still reads."""
        try:
            result = await work.execute(stored, command, self.on_output, self._has_begun.set)
            self._end("exit", self._fields(result))
        except AppError as error:
            if not self._has_begun.is_set():
                self._refusal = error
            self._end("error", {"error": error.message, "code": error.code})
        except BaseException:
            self._end("error", {"error": INTERNAL_ERROR, "code": "internal_error"})
            raise
        finally:
            self._has_begun.set()

    def wait_for_start(self) -> None:
        """Return when the command runs. Raises the error that has prevented it."""
        self._has_begun.wait()
        if self._refusal is not None:
            raise self._refusal

    def on_output(self, stream: str, piece: bytes) -> None:
        """Add a piece of output; what is beyond the limit is dropped."""
        taken = piece[: self._left[stream]]
        self._left[stream] -= len(taken)
        text = self._lines[stream] + self._decoders[stream].decode(taken)
        whole, newline, rest = text.rpartition("\n")
        if len(rest) > LONGEST_PIECE_CHARACTERS:
            whole, newline, rest = text, "", ""
        self._lines[stream] = rest
        if whole or newline:
            self._add(stream, whole + newline)

    def _fields(self, result: Executed) -> dict[str, Any]:
        is_cut = min(self._left.values()) == 0
        return {
            "exit_code": result.exit_code,
            "duration_ms": result.duration_ms,
            "truncated": is_cut,
        }

    def _add(self, stream: str, text: str) -> None:
        if text:
            self._put(event_block(stream, {"text": self._redactor.redact(text)}))

    def _end(self, name: str, fields: dict[str, Any]) -> None:
        for stream, rest in self._lines.items():
            self._add(stream, rest)
        self._put(event_block(name, fields), is_last=True)

    def _put(self, block: bytes, *, is_last: bool = False) -> None:
        with self._lock:
            self._blocks.append(block)
            self._is_over = self._is_over or is_last
            wake = self._wake
        if wake is not None:
            wake()

    async def chunks(self, context: StreamContext) -> Chunks:
        """Yield the events to one reader, on the event loop of the web server."""
        with context.opened() as pulse:
            yield PREAMBLE
            async for blocks in self._blocks_or_nothing(pulse):
                yield blocks or COMMENT

    async def _blocks_or_nothing(self, pulse: Pulse) -> Chunks:
        """Yield the events that came, or nothing when a comment is due."""
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            # The loop is closed when the server has stopped.
            if not loop.is_closed():
                loop.call_soon_threadsafe(news.set)

        self._wake = wake
        while True:
            news.clear()
            with self._lock:
                blocks, self._blocks = b"".join(self._blocks), deque()
                is_over = self._is_over
            if blocks or pulse.take_comment():
                yield blocks
            if is_over:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(pulse.seconds_left):
                    await news.wait()
