"""Turns the bytes an agent prints into events, line by line and within a limit."""

from __future__ import annotations

import codecs
from collections.abc import Callable

from utils.agents.base import Report, StreamReader
from utils.models import Json

LINE_CHARACTERS = 32_768
"""A longer line is cut into events of this length."""

OVERLAP_CHARACTERS = 4_096
"""What must follow a cut: a secret of this length cannot stand in two events, in halves."""

EVENT_CHARACTERS = 32_768
"""Lines that come together travel in one event up to this length."""

EVENT_BYTES = 100
"""What an event counts at least; a row is not free, however short its text."""

ERROR_LINE_CHARACTERS = 500


class OutputReporter:
    """Feeds whole lines to a stream reader and reports the events.

    Text is decoded as UTF-8 across the borders of pieces; other bytes become U+FFFD. After
    `limit_bytes` the output is still read, so that the agent goes on, but no longer reported.
    `redact` takes secrets out of a text before it is cut.
    """

    def __init__(
        self,
        reader: StreamReader,
        report: Report,
        limit_bytes: int,
        redact: Callable[[str], str],
    ) -> None:
        self.last_error_line = ""
        self._reader = reader
        self._report = report
        self._redact = redact
        self._left = limit_bytes
        self._limit = limit_bytes
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {name: decoder("replace") for name in ("stdout", "stderr")}
        self._rest = {"stdout": "", "stderr": ""}

    def feed(self, stream: str, data: bytes) -> None:
        """Take a piece of output."""
        text = self._rest[stream] + self._decoders[stream].decode(data)
        *complete, self._rest[stream] = text.split("\n")
        lines = [f"{line}\n" for line in complete]
        lines += self._cut_rest(stream)
        self._report_lines(stream, lines)

    def _cut_rest(self, stream: str) -> list[str]:
        pieces = []
        while len(self._rest[stream]) > LINE_CHARACTERS + OVERLAP_CHARACTERS:
            rest = self._redact(self._rest[stream])
            pieces.append(rest[:LINE_CHARACTERS])
            self._rest[stream] = rest[LINE_CHARACTERS:]
        return pieces

    def close(self) -> None:
        """Report what stands in unfinished lines."""
        for stream, rest in self._rest.items():
            text = rest + self._decoders[stream].decode(b"", final=True)
            self._rest[stream] = ""
            if text:
                self._report_lines(stream, [text])

    def _report_lines(self, stream: str, lines: list[str]) -> None:
        batch = ""
        for line in lines:
            if stream == "stderr" and line.strip():
                self.last_error_line = self._redact(line.strip())[:ERROR_LINE_CHARACTERS]
            kind, data = self._reader.read_line(stream, line)
            if kind == "output" and len(batch) < EVENT_CHARACTERS:
                batch += data["text"]
                continue
            self._send_output(stream, batch)
            batch = data["text"] if kind == "output" else ""
            if kind != "output":
                self._send(kind, data)
        self._send_output(stream, batch)

    def _send_output(self, stream: str, text: str) -> None:
        if text:
            self._send("output", {"stream": stream, "text": text})

    def _send(self, kind: str, data: Json) -> None:
        if self._left <= 0:
            return
        self._report(kind, data)
        size = sum(len(str(value).encode("utf-8", "replace")) for value in data.values())
        self._left -= max(size, EVENT_BYTES)
        if self._left <= 0:
            note = f"[output after {self._limit} bytes (MAX_OUTPUT_BYTES) is not stored]\n"
            self._report("output", {"stream": "stderr", "text": note})
